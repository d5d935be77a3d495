"""Batch normalization whose statistics are those of all ranks' shares together (brief sections 1 and 17).

Torch's own `nn.SyncBatchNorm` runs on CUDA only, cannot be differentiated twice, and waits for the other ranks in every
forward pass of train mode, those of a probe on one rank included. This one is made of differentiable operations, works
with any backend, and waits for nobody outside of a training pass.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Switch:
    """Whether all ranks are in the same forward pass, so that they may wait for one another."""

    on: bool = False


class SynchronizedBatchNorm(_BatchNorm):
    """Takes the place of a batch normalization layer, with its parameters, buffers and settings.

    While `switch.on` and in train mode, mean, variance and running statistics are those of the inputs of all ranks of
    the default process group; otherwise it does what the layer does.

    Source: Peng et al. 2018 (MegDet), arXiv 1711.07240, section 3.3; statistics combined as in Chan, Golub and LeVeque
    1983, equation 2.1.
    """

    def __init__(self, layer: _BatchNorm, switch: Switch) -> None:
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, affine=False, track_running_stats=layer.track_running_stats
        )
        self.affine, self.switch = layer.affine, switch
        # the same tensors, so that whoever holds them, such as an optimizer, holds this layer's
        self._parameters, self._buffers = layer._parameters, layer._buffers
        self.training = layer.training

    def forward(self, input: Tensor) -> Tensor:
        """`input` (N, C, ...), normalized over all but C; the same shape and type."""
        if not (self.training and self.switch.on):
            return super().forward(input)
        wide = input if input.dtype == torch.float64 else input.float()
        mean, variance, count = _joined_statistics(wide)
        self._follow(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        shape = [1, -1] + [1] * (input.ndim - 2)
        normal = (wide - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch normalization needs (N, C, ...), got {input.ndim} dimensions")

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronize(model: nn.Module, switch: Switch) -> None:
    """Replaces every batch normalization layer inside of `model` by one that is synchronized while `switch.on`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, SynchronizedBatchNorm | nn.SyncBatchNorm):
                setattr(module, name, SynchronizedBatchNorm(child, switch))


def _joined_statistics(input: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and (biased) variance of each channel over the inputs of all ranks, and how many values each is of.

    All ranks have inputs of the same shape: the batch is shared out equally.
    """
    over = [dim for dim in range(input.ndim) if dim != 1]
    variance, mean = torch.var_mean(input, over, correction=0)
    # every rank's row in one sum: the variance of all is the mean variance and the variance of the means
    rows = torch.zeros(dist.get_world_size(), 2, len(mean), dtype=mean.dtype, device=mean.device)
    rows[dist.get_rank()] = torch.stack([mean, variance])
    means, variances = _summed(rows).unbind(1)
    joined = means.mean(0)
    count = input.numel() / input.shape[1] * len(rows)
    return joined, variances.mean(0) + (means - joined).square().mean(0), count


class Summed(torch.autograd.Function):
    """The sum of a tensor over all ranks, any number of times differentiable: each rank's loss depends on each input.

    All ranks must compute, and differentiate, the same sums in the same order.
    """

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        """The sum, on every rank."""
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: the sum is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The gradient of the sum of all ranks' losses."""
        return _summed(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        """The sum of the tangents."""
        return _summed(tangent)


def _summed(tensor: Tensor) -> Tensor:
    total: Tensor = Summed.apply(tensor)  # type: ignore[no-untyped-call]
    return total
