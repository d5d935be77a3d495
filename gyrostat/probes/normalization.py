"""Batch normalization: the statistics of training against those of eval, and what the difference does."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.hooks import first_tensor
from gyrostat.probes.network import Network, absent
from gyrostat.probes.undisturbed import evaluated, undisturbed
from gyrostat.spec.probes import ModesProbe, StatisticsProbe


class _Running(NamedTuple):
    """Running mean and variance of all channels of all layers, and for each layer how many batches it has seen."""

    mean: Tensor
    variance: Tensor
    batches: Tensor


class Statistics(Probe):
    """How far the batch statistics of each batch normalization are from its running ones.

    It reads no activations: a running mean that momentum m moved from R to R′ was moved by the batch's mean
    B = R + (R′ − R)/m, and by the k batches of a step by their weighted mean, with 1 − (1 − m)ᵏ in place of m. So it
    sees what the layer saw, whatever that was: micro-batches, several calls, other ranks.
    """

    settings_type = StatisticsProbe
    needs = frozenset({Need.OUTPUTS})  # by them layers get onto the axis of modules

    @classmethod
    def concerns(cls, network: Network) -> bool:
        """Models that have running statistics."""
        return bool(_with_running_statistics(network))

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        layers = _with_running_statistics(network)
        self._leaves, self._layers = list(layers), list(layers.values())
        self._before: _Running | None = None
        device, sizes = network.device, [layer.num_features for layer in self._layers]
        self._sizes = torch.tensor(sizes, device=device)
        self._of_channel = torch.tensor([at for at, size in enumerate(sizes) for _ in range(size)], device=device)
        self._epsilon = torch.tensor([layer.eps for layer in self._layers], device=device)
        self._momenta: list[float] = []
        self._momentum = self._epsilon

    def begin(self) -> None:
        """Copies the running statistics: three numbers a channel."""
        self._before = _running(self._layers, self.network.device)

    def after_backward(self) -> Readings:
        """From how the running statistics have moved."""
        before, self._before = self._before, None
        if before is None:
            return {}
        after = _running(self._layers, self.network.device)
        share = self._share(before, after)
        widths = (1 / share)[self._of_channel]
        epsilon = self._epsilon[self._of_channel]
        running = before.variance + epsilon
        batch = torch.lerp(before.variance, after.variance, widths).clamp_min(0) + epsilon
        shift = ((after.mean - before.mean) * widths).square()
        divergence = ((batch + shift) / running + (running + shift) / batch) / 2 - 1
        return {
            "normalization.statistic_gap": self._of_leaf(self._mean(divergence), share),
            "normalization.mean_gap": self._of_leaf(self._mean(shift / running).sqrt(), share),
            "normalization.scale_gap": self._of_leaf(self._mean((batch / running).log().square()).sqrt() / 2, share),
        }

    def _share(self, before: _Running, after: _Running) -> Tensor:
        """(layers,) of each layer's running statistics, the part that is of the step's batches."""
        momenta = [-1.0 if layer.momentum is None else layer.momentum for layer in self._layers]
        if momenta != self._momenta:  # sent to the device when they change, which is hardly ever
            self._momenta, self._momentum = momenta, torch.tensor(momenta, device=self.network.device)
        batches = after.batches - before.batches
        cumulative = batches / after.batches.clamp_min(1)
        return torch.where(self._momentum < 0, cumulative, 1 - (1 - self._momentum) ** batches)

    def _mean(self, of_channels: Tensor) -> Tensor:
        """(layers,) means over each layer's channels."""
        sums = torch.zeros(len(self._layers), dtype=of_channels.dtype, device=of_channels.device)
        return sums.index_add_(0, self._of_channel, of_channels) / self._sizes

    def _of_leaf(self, of_layers: Tensor, share: Tensor) -> Tensor:
        """Along the axis `module`; absent where the running statistics did not move."""
        nothing = absent(len(self._layers), self.network.device)
        values = torch.where(share > 0, of_layers.to(torch.float32), nothing)
        return self.network.spread(values, self._leaves, len(self.network.leaves))


class Modes(Probe):
    """How far outputs and loss of the probe batch are from each other in train and in eval mode; dropout is off."""

    settings_type = ModesProbe
    needs = frozenset({Need.PROBE_BATCH})

    @classmethod
    def concerns(cls, network: Network) -> bool:
        """Models that have running statistics."""
        return bool(_with_running_statistics(network))

    def after_update(self) -> Readings:
        """Two passes of the probe batch with the new weights."""
        with undisturbed(self.network.model):
            outputs, loss = self._pass()
        with evaluated(self.network.model):
            outputs_in_eval, loss_in_eval = self._pass()
        readings: dict[str, Tensor | float] = {"normalization.loss_gap": (loss_in_eval - loss) / loss.abs()}
        if outputs and len(outputs) == len(outputs_in_eval):
            pairs = [(y.double(), z.double()) for y, z in zip(outputs, outputs_in_eval, strict=True)]
            way = sum((z - y).square().sum() for y, z in pairs)
            size = sum(y.square().sum() for y, _ in pairs)
            readings["normalization.output_gap"] = (way / size) ** 0.5
        return readings

    def _pass(self) -> tuple[list[Tensor], Tensor]:
        """What the model puts out, call by call, and the loss."""
        outputs: list[Tensor] = []

        def look(module: Any, arguments: Any, output: Any) -> None:
            if (tensor := first_tensor(output)) is not None:
                outputs.append(tensor.detach())

        assert self.network.probe_batch is not None
        handle = self.network.model.register_forward_hook(look)
        try:
            with torch.enable_grad():  # a loss may differentiate by itself, as gradient penalties do
                return outputs, self.network.probe_batch.loss().detach()
        finally:
            handle.remove()


def _with_running_statistics(network: Network) -> dict[int, _BatchNorm]:
    """The batch normalizations that keep running statistics, by their position among the leaves."""
    return {
        at: layer
        for at, layer in enumerate(network.leaves.values())
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def _running(layers: Sequence[_BatchNorm], device: torch.device) -> _Running:
    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat([tensor.reshape(-1).to(device, torch.float32, non_blocking=True) for tensor in tensors])

    return _Running(
        joined([layer.get_buffer("running_mean") for layer in layers]),
        joined([layer.get_buffer("running_var") for layer in layers]),
        joined([layer.get_buffer("num_batches_tracked") for layer in layers]),
    )
