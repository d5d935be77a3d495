"""How spread out the weights of each attention head are, and how large its logits become."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.network import AttentionLayer, Network, absent
from gyrostat.spec.probes import AttentionProbe

METRICS = ("attention.entropy", "attention.max_logit")


class Attention(Probe):
    """Mean entropy of the weights, and largest logit, per head of every `gyrostat.probes.network.AttentionLayer`.

    Logits are formed again, in float32 or better, from the queries and keys that the layer itself attended with: for
    the first few sequences of a layer's first call in the step, which is in the step's first micro-batch. Kernels that
    never form logits are measured all the same.
    """

    settings_type = AttentionProbe
    needs = frozenset({Need.ATTENTION})

    @classmethod
    def concerns(cls, network: Network) -> bool:
        """Models that have some."""
        return bool(network.attentions)

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._layers: tuple[AttentionLayer, ...] = tuple(network.attentions.values())
        self._found: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self) -> None:
        """Starts from nothing."""
        self._found = {}

    def attended(self, layer: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Measures the first call.

        Raises:
            ValueError: the layer's logits are not (N, heads, T, S).
        """
        if layer in self._found:
            return
        heads = self._layers[layer].heads
        logits_of = cast(Callable[..., Tensor], self._layers[layer].core.logits)
        with torch.autocast(self.network.device.type, enabled=False):
            logits = logits_of(*map(self._sample, arguments), **{k: self._sample(v) for k, v in named.items()})
        if logits.ndim != 4 or logits.shape[1] != heads:
            name = list(self.network.attentions)[layer]
            raise ValueError(f"logits of {name!r} have shape {tuple(logits.shape)}; expected (N, {heads}, T, S)")
        self._found[layer] = (entropy(logits).mean((0, 2)), logits.amax((0, 2, 3)))

    def _sample(self, value: Any) -> Any:
        """The first sequences of a tensor; what is not as wide as float32, in float32."""
        if not isinstance(value, Tensor):
            return value
        first = value.detach()[: self.settings.sequences]
        return first.float() if first.dtype in (torch.bfloat16, torch.float16) else first

    def after_backward(self) -> Readings:
        """Of all layers that were called."""
        if not self._found:
            return {}
        device = self.network.device
        missing = [absent(layer.heads, device) for layer in self._layers]
        return {
            metric: torch.cat(
                [
                    self._found[layer][which].to(device, torch.float32) if layer in self._found else none
                    for layer, none in enumerate(missing)
                ]
            )
            for which, metric in enumerate(METRICS)
        }


def entropy(logits: Tensor) -> Tensor:
    """−Σ p·ln p in nats, p = softmax of the last axis of `logits`, which it takes away; −∞ is a weight of 0.

    With z = logits − max logits it is −ln max p − Σ p·z: a logarithm for each row in place of one for each element.
    """
    weights = logits.softmax(-1)
    # a weight below e^−100 has no part in a sum, and one of 0 is to have none times −∞ either
    below = (logits - logits.amax(-1, keepdim=True)).clamp_(min=-100)
    return (-weights.amax(-1).log() - (weights * below).sum(-1)).clamp_(min=0)
