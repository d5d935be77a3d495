"""How unevenly each weight matrix stretches vectors."""

import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings
from gyrostat.spec.probes import ConditionProbe


class Condition(Probe):
    """σ₁/σ_min of each weight with two or more dimensions, reshaped to (out, rest), from all its singular values.

    They are exact, in float64, and so dear: a smallest singular value has no warm start that could be trusted. Matrices
    above the setting's size have no condition number. The probe waits for the device.
    """

    settings_type = ConditionProbe

    def after_update(self) -> Readings:
        """Of the new weights."""
        found: dict[int, float] = {}
        for at, matrix in enumerate(self.network.matrices.values()):
            weight = matrix()
            if 0 < weight.numel() <= self.settings.max_elements:
                condition = _condition(weight.reshape(len(weight), -1))
                if condition is not None:
                    found[at] = condition
        if not self.network.matrices:
            return {}
        values = torch.tensor(list(found.values()), dtype=torch.float32, device=self.network.device)
        return {"weight.condition_number": self.network.spread(values, list(found), len(self.network.matrices))}


def _condition(matrix: Tensor) -> float | None:
    """∞ where σ_min is no more than rounding, as numpy judges the rank; None of zeros; NaN of what is not finite."""
    if not matrix.isfinite().all():
        return torch.nan
    values = torch.linalg.svdvals(matrix.double())
    largest, smallest = values[0].item(), values[-1].item()
    if largest == 0:
        return None
    singular = smallest <= largest * max(matrix.shape) * torch.finfo(values.dtype).eps
    return torch.inf if singular else largest / smallest
