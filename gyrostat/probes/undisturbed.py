"""Forward passes of one's own through a model in training, after which nothing tells that they were."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside: gradients on, dropout off, twice differentiable attention. Afterwards: model and random states as found.

    Modules that normalize by batch statistics stay in their mode and use those of the batch they are given. Every
    buffer is put back if it was written or replaced. "Dropout" is torch's dropout modules, `nn.MultiheadAttention`'s,
    and any module that says `stochastic = True` of itself.
    """
    with ExitStack() as stack:
        stack.callback(
            _restore_modes, [(module, module.training) for module in model.modules() if _is_stochastic(module)]
        )
        stack.enter_context(buffers_kept(model))
        stack.enter_context(torch.random.fork_rng(_cuda_devices(model)))
        stack.enter_context(torch.enable_grad())
        # the fused attention kernels have no second derivative
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        for module in model.modules():
            if _is_stochastic(module):
                module.training = False
        yield


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Inside: every module in eval mode. Afterwards: model and random states as found. Gradients are as outside."""
    root, modes = model.training, [(module, module.training) for module in model.modules()]
    with buffers_kept(model), torch.random.fork_rng(_cuda_devices(model)):
        try:
            model.eval()
            yield
        finally:
            model.train(root)  # a model may hold more than its modules, and override this
            _restore_modes(modes)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards every buffer of the model, if it was written or replaced inside, is as found."""
    taken = _snapshot(model)
    try:
        yield
    finally:
        _restore_buffers(taken)


def _cuda_devices(model: nn.Module) -> list[int]:
    return sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})


def _is_stochastic(module: nn.Module) -> bool:
    return isinstance(module, _DropoutNd | nn.MultiheadAttention) or bool(getattr(module, "stochastic", False))


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


_Snapshot = list[tuple[nn.Module, str, Tensor | None, Tensor | None]]


def _snapshot(model: nn.Module) -> _Snapshot:
    return [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]


def _restore_buffers(taken: _Snapshot) -> None:
    for module, name, buffer, kept in taken:
        module._buffers[name] = buffer
        if buffer is not None and kept is not None:
            # past the version counter: batch normalization does not count its writes, and a graph may hold a buffer
            buffer.data.copy_(kept)
