"""How steep the training loss is in its inputs."""

from typing import cast

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.norms import norms
from gyrostat.probes.undisturbed import evaluated
from gyrostat.spec.probes import InputGradientProbe


class InputGradient(Probe):
    """N·‖∂L/∂xₙ‖₂ of each sample of the probe batch, their mean and the largest, in one pass in eval mode.

    Nothing where the inputs are not floating, or the loss does not depend on them.
    """

    settings_type = InputGradientProbe
    needs = frozenset({Need.PROBE_BATCH})

    def after_update(self) -> Readings:
        """With the new weights."""
        batch = self.network.probe_batch
        assert batch is not None
        inputs, *rest = batch.tensors()
        if not inputs.is_floating_point() or not inputs.numel():
            return {}
        with evaluated(self.network.model), torch.enable_grad():
            inputs = inputs.detach().requires_grad_()
            # a copy: the first module may work in place
            loss = batch.loss_of((inputs.clone(), *rest))
            if not loss.requires_grad:
                return {}
            slopes = cast(Tensor | None, torch.autograd.grad(loss, inputs, allow_unused=True)[0])
        if slopes is None:
            return {}
        steepness: Tensor = norms(list(slopes), slopes.device) * len(slopes)
        return {
            "lipschitz.input_gradient_norm": steepness.mean(),
            "lipschitz.input_gradient_max": steepness.max(),
        }
