"""How large the gradients are that reach each parameter."""

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.norms import global_norm, norms
from gyrostat.spec.probes import GradientsProbe


class Gradients(Probe):
    """‖g‖₂ of each parameter and of all together, before clipping, and of all after it. Absent without gradient."""

    settings_type = GradientsProbe

    def after_backward(self) -> Readings:
        """Norms of the final gradients."""
        parameters = list(self.network.parameters.values())
        held = [(at, p.grad) for at, p in enumerate(parameters) if p.requires_grad and p.grad is not None]
        each = norms([gradient for _, gradient in held], self.network.device)
        vector = self.network.spread(each, [at for at, _ in held], len(parameters))
        return {"gradient.norm": vector, "gradient.global_norm": global_norm(each)}

    def after_clip(self) -> Readings:
        """The norm that the optimizer gets to see."""
        held = [p.grad for p in self.network.parameters.values() if p.requires_grad and p.grad is not None]
        return {"gradient.clipped_norm": global_norm(norms(held, self.network.device))}
