"""Learning from a teacher's answers besides the labels (brief section 11)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.distillation import Distillation, MeanTeacher
from trainer.stabilizers.losses import rows
from trainer.stabilizers.registry import Registry

DISTILLATIONS: "Registry[Teacher]" = Registry("distillation")


def build(settings: Distillation | None, student: nn.Module) -> "Teacher | None":
    """The teacher of `student`, whose weights are those of its start; None for None."""
    return None if settings is None else DISTILLATIONS.of(settings)(settings, student)


def divergence(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(softmax(z′/T) ‖ softmax(z/T)), mean over samples (and positions or pixels); T² keeps the gradient's scale.

    Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2.
    """
    student, wanted = (rows(scores).div(temperature).log_softmax(1) for scores in (outputs, teacher))
    return temperature**2 * functional.kl_div(student, wanted, log_target=True, reduction="batchmean")


@DISTILLATIONS.implements(MeanTeacher)
class Teacher:
    """A copy of the student, in eval mode, whose weights follow the student's as a moving average.

    Source: Tarvainen and Valpola 2017, arXiv 1703.01780, section 2; the slow start is that of their code.
    """

    def __init__(self, settings: MeanTeacher, student: nn.Module) -> None:
        self.settings = settings
        self.network = copy.deepcopy(student).requires_grad_(False).eval()

    def term(self, outputs: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        """λ·T²·KL between what the teacher and the student say of `inputs`."""
        with torch.no_grad():
            wanted = self.network(*inputs)
        return self.settings.weight * divergence(outputs, wanted, self.settings.temperature)

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Takes the student's weights after its step `step` (1 is the first) into the average, and its buffers."""
        keep = min(self.settings.decay, 1 - 1 / (step + 1))
        for average, weights in zip(self.network.parameters(), student.parameters(), strict=True):
            average.lerp_(weights, 1 - keep)
        for own, buffer in zip(self.network.buffers(), student.buffers(), strict=True):
            own.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        """The network's tensors."""
        state: dict[str, Tensor] = self.network.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""
        self.network.load_state_dict(state)

    @torch.no_grad()
    def take_over(self, state: dict[str, Any] | None, student: nn.Module) -> list[str]:
        """As a fork starts: another teacher's tensors where all fit, else those of `student`. Answers what did not."""
        own = self.network.state_dict()
        if state is not None and {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in state.items()}:
            self.network.load_state_dict(state)
            return []
        self.network.load_state_dict(student.state_dict())
        return ["the teacher starts as the student is: the parent has none that fits"]
