"""The features of each module: one pass of the probe batch in eval mode, looked at through hooks."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.probes.hooks import first_tensor
from gyrostat.probes.network import Network
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.undisturbed import evaluated

MAX_FEATURES = 8192
"""Of a module's features at most so many are looked at. Where there are more, so many are drawn with replacement, the
same at every measurement: the Gram matrix of all features, scaled, is the expectation of theirs."""

Visit = Callable[[int, Tensor], None]
"""Is shown the output of the leaf module at a position: detached, floating, a row a sample, not to be kept."""


def visit_outputs(network: Network, batch: ProbeBatch, samples: int, visit: Visit) -> None:
    """Shows the outputs of all leaf modules, in the order of their first calls, for the first `samples` of the batch.

    Later calls of a module are passed over, and so is an output that has not as many rows as the model was called with,
    as where samples are cut into windows. Where the model is called with more rows than there are samples (two views of
    each), the first `samples` rows are shown. An output is shown before anything is done to it in place.
    """
    tensors = batch.part(0, samples)
    called: set[int] = set()
    rows = samples

    def enter(module: nn.Module, arguments: Any, named: Any) -> None:
        nonlocal rows
        given = first_tensor(arguments) if arguments else first_tensor(named)
        rows = samples if given is None or given.ndim == 0 else len(given)

    def hook(leaf: int) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, arguments: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if leaf in called or tensor is None or not tensor.is_floating_point():
                return
            called.add(leaf)
            network.called.add(leaf)
            if tensor.ndim > 1 and len(tensor) == rows and tensor.numel():
                with torch.no_grad():
                    visit(leaf, tensor.detach()[:samples])

        return look

    with ExitStack() as stack:
        stack.enter_context(evaluated(network.model))
        stack.callback(network.model.register_forward_pre_hook(enter, with_kwargs=True).remove)
        for leaf, module in enumerate(network.leaves.values()):
            stack.callback(module.register_forward_hook(hook(leaf)).remove)
        stack.enter_context(torch.enable_grad())  # a loss may differentiate by itself, as gradient penalties do
        batch.loss_of(tensors)


def features(output: Tensor) -> Tensor:
    """(n, F) in float64 of an output (n, ...): all but the first axis flattened, at most `MAX_FEATURES` of them."""
    flat = output.flatten(1)
    if flat.shape[1] > MAX_FEATURES:
        chosen = torch.randint(flat.shape[1], (MAX_FEATURES,), generator=torch.Generator().manual_seed(0))
        flat = flat[:, chosen.to(flat.device)]
    return flat.to(torch.float32 if flat.device.type == "mps" else torch.float64)
