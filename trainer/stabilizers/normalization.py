"""Normalization layers (brief section 1)."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gyrostat.spec.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, RmsNorm, WeightNorm
from trainer.stabilizers.registry import Registry

NORMS: Registry[nn.Module] = Registry("norm")
PARAMETRIZATIONS: Registry[None] = Registry("parametrization")


def build(settings: Norm | None, features: int, *, dims: int) -> nn.Module:
    """A normalization layer over `features` channels C, or the identity for None.

    `dims` is 1 for inputs (N, C) or, layer and root mean square normalization only, (N, T, C), and 2 for images
    (N, C, H, W). Instance normalization takes images only, of two pixels or more.
    """
    return nn.Identity() if settings is None else NORMS.of(settings)(settings, features, dims)


def cancels_bias(settings: Norm | None) -> bool:
    """Whether a bias before the layer has no effect, since the mean of each channel is subtracted."""
    return isinstance(settings, BatchNorm | InstanceNorm)


@NORMS.implements(BatchNorm)
def _batch(settings: BatchNorm, features: int, dims: int) -> nn.Module:
    kind = nn.BatchNorm1d if dims == 1 else nn.BatchNorm2d
    return kind(features, eps=settings.eps, momentum=settings.momentum)


@NORMS.implements(LayerNorm)
def _layer(settings: LayerNorm, features: int, dims: int) -> nn.Module:
    # On images, per sample over C, H and W with one gain per channel: group normalization with a single group.
    return nn.LayerNorm(features, eps=settings.eps) if dims == 1 else nn.GroupNorm(1, features, eps=settings.eps)


@NORMS.implements(GroupNorm)
def _group(settings: GroupNorm, features: int, dims: int) -> nn.Module:
    return nn.GroupNorm(settings.groups, features, eps=settings.eps)


@NORMS.implements(InstanceNorm)
def _instance(settings: InstanceNorm, features: int, dims: int) -> nn.Module:
    assert dims == 2, "the spec's checks let no instance normalization through to what has no pixels"
    return nn.InstanceNorm2d(features, eps=settings.eps, affine=True)


class RootMeanSquareNorm(nn.RMSNorm):
    """y = γ·x/√(mean(x²) + ε) over the features: the last axis, or with `dims` 2 the channels of each pixel.

    Computed in the gain's precision, as torch's layer normalization is under autocast.

    Source: Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4.
    """

    def __init__(self, features: int, *, eps: float, dims: int) -> None:
        super().__init__(features, eps=eps)
        self._axis = -1 if dims == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., C) or, with `dims` 2, (N, C, H, W), to the same shape."""
        features_last = x.movedim(self._axis, -1).to(self.weight.dtype)
        return super().forward(features_last).movedim(-1, self._axis)


@NORMS.implements(RmsNorm)
def _rms(settings: RmsNorm, features: int, dims: int) -> nn.Module:
    return RootMeanSquareNorm(features, eps=settings.eps, dims=dims)


def weighted_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The linear layers and convolutions, in the order of the model's modules; embeddings only look their rows up."""
    return (module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d))


@PARAMETRIZATIONS.implements(WeightNorm)
@torch.no_grad()
def weight_norm(settings: WeightNorm, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Replaces the weight w of every linear layer and convolution by g·v/‖v‖₂; w itself stays what it is.

    A unit of zeros has no direction: its g is 0 and its v is drawn from torch's global generator.

    Source: Salimans and Kingma 2016, arXiv 1602.07868, eq. 2.
    """
    for layer in weighted_layers(model):
        parametrizations.weight_norm(layer)
        _give_directions(layer)


def _give_directions(layer: nn.Module) -> None:
    direction = layer.get_parameter("parametrizations.weight.original1")
    none = direction.flatten(1).norm(dim=1) == 0
    if none.any():
        direction[none] = torch.randn_like(direction[none])


@torch.no_grad()
def taken_over(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state `tensors` of a model as `model` has it, where parametrizations stand in for weights of that one.

    The weights of layers that are parametrized here and were not there go into `model` at once, as far as they fit.
    """
    fitting = dict(tensors)
    for name, layer in model.named_modules():
        key = f"{name}.weight" if name else "weight"
        if key not in tensors or not parametrize.is_parametrized(layer, "weight"):
            continue
        computing = layer.get_submodule("parametrizations.weight")
        like = list(computing.parameters())[-1]
        if tensors[key].shape == like.shape:
            layer.weight = fitting.pop(key).to(like)  # computes what the parametrization computes it from
            if "original1" in dict(computing.named_parameters()):
                _give_directions(layer)
            fitting |= computing.state_dict(prefix=f"{name}." * bool(name) + "parametrizations.weight.")
    return fitting
