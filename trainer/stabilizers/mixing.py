"""Mixup and CutMix (brief section 5)."""

import math
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from gyrostat.spec.mixing import CutMix, Mix, Mixup
from trainer.stabilizers.registry import Registry

Box = tuple[slice, slice]
"""Rows and columns of an image."""

MIXES: Registry[tuple[float, Box | None]] = Registry("mix")
"""Each is called with (settings, shape of a sample, random numbers) and draws λ and the box that is pasted, if any."""


@dataclass(frozen=True)
class Mixing:
    """How one batch is mixed.

    Attributes:
        partner: (N,) which sample each one is mixed with. weight: λ, what each keeps of itself and of its label.
        box: what is taken over from the partner; None for a weighted mean of everything.
    """

    partner: Tensor
    weight: float
    box: Box | None

    def inputs(self, inputs: Tensor) -> Tensor:
        """(N, ...) to the same shape."""
        if self.weight == 1:
            return inputs
        if self.box is None:
            return self.targets(inputs)
        pasted = inputs.clone()
        pasted[..., self.box[0], self.box[1]] = inputs[self._partner(inputs)][..., self.box[0], self.box[1]]
        return pasted

    def targets(self, targets: Tensor) -> Tensor:
        """λy_i + (1 − λ)y_j; floats (N, ...), class numbers as `one_hot` makes them."""
        return self.weight * targets + (1 - self.weight) * targets[self._partner(targets)]

    def _partner(self, values: Tensor) -> Tensor:
        return self.partner.to(values.device)


def mixing(settings: Mix, shape: tuple[int, ...], count: int, source: torch.Generator) -> Mixing:
    """How a batch of `count` samples of `shape` is mixed; a pure function of the arguments and of `source`'s seed."""
    partner = torch.randperm(count, generator=source)
    # numpy has the Beta distribution with a generator of its own; torch draws it from the global one only
    random = numpy.random.default_rng(int(torch.randint(2**62, (), generator=source)))
    if random.random() >= settings.probability:
        return Mixing(partner, 1.0, None)
    weight, box = MIXES.of(settings)(settings, shape, random)
    return Mixing(partner, weight, box)


@MIXES.implements(Mixup)
def _mixup(settings: Mixup, shape: tuple[int, ...], random: numpy.random.Generator) -> tuple[float, Box | None]:
    """Source: Zhang et al. 2017, arXiv 1710.09412, section 2."""
    return float(random.beta(settings.alpha, settings.alpha)), None


@MIXES.implements(CutMix)
def _cutmix(settings: CutMix, shape: tuple[int, ...], random: numpy.random.Generator) -> tuple[float, Box | None]:
    """Source: Yun et al. 2019, arXiv 1905.04899, eq. 1 and 2; λ is the share that is kept once the box is clipped."""
    share = math.sqrt(1 - random.beta(settings.alpha, settings.alpha))
    rows, columns = (_interval(side, share, random) for side in shape[-2:])
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return 1 - area / (shape[-2] * shape[-1]), (rows, columns)


def _interval(side: int, share: float, random: numpy.random.Generator) -> slice:
    """About `share` of `side` around a centre drawn evenly, clipped to the image."""
    length, centre = round(share * side), int(random.integers(side))
    return slice(max(0, centre - length // 2), min(side, centre - length // 2 + length))


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """Class numbers (N,) as float32 (N, classes); what is float already stays."""
    if targets.is_floating_point():
        return targets
    return torch.nn.functional.one_hot(targets, classes).float()
