"""From settings to a network, ready to train."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gyrostat.spec.architectures import Model, UNet
from gyrostat.spec.lipschitz import Parametrization
from gyrostat.spec.regularization import Regularization
from gyrostat.spec.run import RunSpec
from trainer.models import (  # noqa: F401  (each registers its architecture)
    cnn,
    densenet,
    fpn,
    highway_net,
    mlp,
    resnet,
    transformer,
    unet,
)
from trainer.models.registry import MODELS
from trainer.stabilizers import dropout, initialization, linearized, lipschitz, normalization


def build(
    settings: Model,
    regularization: Regularization,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    time: bool = False,
) -> nn.Module:
    """The network for samples of `input_shape` (without the batch axis), with torch's default weights.

    `outputs` is the number of classes, of regression targets, or of tokens in the vocabulary; of channels, where there
    is an answer for each pixel. With `time`, which only a U-Net takes, the network is called with a time for each
    sample beside it.
    """
    conditions = {"time": True} if time else {}
    return MODELS.of(settings)(settings, regularization, input_shape, outputs, **conditions)


def parametrize(network: nn.Module, settings: Parametrization, samples: tuple[Tensor, ...]) -> None:
    """Puts the parametrization in the place of the weights of all linear layers and convolutions, the output's too."""
    families = (normalization.PARAMETRIZATIONS, lipschitz.PARAMETRIZATIONS)
    registry = next(family for family in families if type(settings) in family)
    registry.of(settings)(settings, network, samples)


def initialized(
    spec: RunSpec,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    samples: tuple[Tensor, ...],
    device: torch.device,
    model: Model | None = None,
    around: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> nn.Module:
    """The spec's model (or another one, `model`), from the spec's seed alone: made on the CPU, then moved to `device`.

    Built, initialized, and changed by what acts on a whole network, in this one order. `samples` are inputs of a batch
    of training data, for initializations that look at data. `around` may put a module around the network as built,
    which then counts as part of it.
    """
    settings = spec.model if model is None else model
    with torch.random.fork_rng(devices=[]):
        # the CPU's generator only: torch.manual_seed would reseed the accelerators too, which are not put back
        torch.default_generator.manual_seed(spec.seed)
        time = isinstance(settings, UNet) and spec.task.kind == "denoising"
        network = build(settings, spec.regularization, input_shape, outputs, time=time)
        network = around(network)
        initialization.initialize(network, spec.init, settings.activation, zero_last=spec.zero_last, inputs=samples)
        dropout.drop_weights(network, spec.regularization.dropconnect)
        if spec.parametrization is not None:
            parametrize(network, spec.parametrization, samples)
        network = linearized.linearize(network, spec.linearized)
    return network.to(device)
