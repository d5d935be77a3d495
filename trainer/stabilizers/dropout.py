"""Dropout and its relatives (brief section 4). All draw from torch's global generator."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.dropout import DropConnect, Dropout, ElementDropout, GaussianDropout, SpatialDropout, StochasticDepth
from trainer.stabilizers.registry import Registry

DROPOUTS: Registry[nn.Module] = Registry("dropout")
WEIGHT_DROPOUTS: Registry[None] = Registry("dropconnect")
SURVIVALS: Registry[float] = Registry("stochastic depth")


def build(settings: Dropout | None, *, dims: int) -> nn.Module:
    """A dropout layer, or the identity for None.

    `dims` is 1 for inputs (N, C) or (N, T, C), 2 for images (N, C, H, W).
    """
    return nn.Identity() if settings is None else DROPOUTS.of(settings)(settings, dims)


def drop_weights(model: nn.Module, settings: DropConnect | None) -> None:
    """Makes the model's linear layers and convolutions drop weights in training; None changes nothing.

    Call it before parametrizations are registered: it then drops what they make of their parameters. Names and values
    of all parameters stay.
    """
    if settings is not None:
        WEIGHT_DROPOUTS.of(settings)(model, settings)


def survival(settings: StochasticDepth | None, block: int, blocks: int) -> float:
    """The probability that the branch of block number `block` (0 is the first) of `blocks` is kept; 1 for None."""
    return 1.0 if settings is None else SURVIVALS.of(settings)(settings, block, blocks)


def stochastic_depth(branch: Tensor, survival: float) -> Tensor:
    """The branches (N, ...) of some samples set to zero, each with probability 1 − `survival`, the others scaled up.

    Source: Huang et al. 2016, arXiv 1603.09382, eq. 2.
    """
    kept = functional.dropout(branch.new_ones(len(branch), *(1,) * (branch.ndim - 1)), 1 - survival)
    return branch * kept


@DROPOUTS.implements(ElementDropout)
def _element(settings: ElementDropout, dims: int) -> nn.Module:
    return nn.Dropout(settings.rate)


@DROPOUTS.implements(SpatialDropout)
class ChannelDropout(nn.Module):
    """Sets whole channels of images, and whole features of sequences, to zero; of (N, C) single elements.

    Source: Tompson et al. 2015, arXiv 1411.4280, section 3.2.
    """

    stochastic = True

    def __init__(self, settings: SpatialDropout, dims: int) -> None:
        super().__init__()
        self.rate, self.dims = settings.rate, dims

    def forward(self, x: Tensor) -> Tensor:
        """(N, C), (N, T, C) or, with 2 dims, (N, C, H, W), to the same."""
        if not self.training:
            return x
        shape = (*x.shape[:2], 1, 1) if self.dims == 2 else (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        return x * functional.dropout(x.new_ones(shape), self.rate)


@DROPOUTS.implements(GaussianDropout)
class GaussianNoise(nn.Module):
    """h·m, m ~ N(1, p/(1 − p)) (Srivastava et al. 2014, JMLR 15, section 10)."""

    stochastic = True

    def __init__(self, settings: GaussianDropout, dims: int) -> None:
        super().__init__()
        self.deviation = math.sqrt(settings.rate / (1 - settings.rate))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to the same."""
        return x * (1 + self.deviation * torch.randn_like(x)) if self.training else x


class DropConnectLinear(nn.Linear):
    """A linear layer that drops weights in training (Wan et al. 2013, ICML, section 3)."""

    stochastic = True
    rate: float

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`, with a mask drawn anew."""
        return functional.linear(x, functional.dropout(self.weight, self.rate, self.training), self.bias)


class DropConnectConv2d(nn.Conv2d):
    """A convolution that drops weights in training (Wan et al. 2013, ICML, section 3)."""

    stochastic = True
    rate: float

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv2d`, with a mask drawn anew."""
        convolved: Tensor = self._conv_forward(x, functional.dropout(self.weight, self.rate, self.training), self.bias)
        return convolved


@WEIGHT_DROPOUTS.implements(DropConnect)
def _drop_connect(model: nn.Module, settings: DropConnect) -> None:
    dropping: dict[type[nn.Module], type[DropConnectLinear | DropConnectConv2d]] = {
        nn.Linear: DropConnectLinear,
        nn.Conv2d: DropConnectConv2d,
    }
    for module in model.modules():
        if (into := dropping.get(type(module))) is not None:
            # what torch's parametrizations do too: the module stays, with its parameters, names and hooks
            module.__class__ = into
            vars(module)["rate"] = settings.rate


@SURVIVALS.implements(StochasticDepth)
def linear_survival(settings: StochasticDepth, block: int, blocks: int) -> float:
    """1 − l/L·(1 − p_L), l = block + 1 of L = blocks (Huang et al. 2016, arXiv 1603.09382, eq. 4)."""
    return 1 - (block + 1) / blocks * (1 - settings.survival)
