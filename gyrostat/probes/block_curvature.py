"""How sharp the loss is in each parameter alone."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.convolutions import TwiceDifferentiable
from gyrostat.probes.estimators import GradientGraph, lanczos
from gyrostat.probes.network import Network
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.probes.warmstart import WarmStarts
from gyrostat.spec.probes import BlockCurvatureProbe

_WARM_PRODUCTS = 2
"""Products at least from a warm start; with fewer, the random part has shown nothing yet."""


class BlockCurvature(Probe):
    """Largest eigenvalue of the Hessian's diagonal block of a few trainable parameters at a time, all in turn.

    A product with the whole Hessian mixes the blocks, so each is iterated for on its own, through the part of the graph
    that leads from its gradient to itself: at most `max_products` products for each of the `blocks` parameters whose
    turn it is, from where their last turn ended. The others are absent from the frame. Parameters must lie on one
    device. Waits for the device, once a product.
    """

    settings_type = BlockCurvatureProbe
    needs = frozenset({Need.PROBE_LOSS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._starts = WarmStarts(fresh=0.1, cold_every=5)
        self._next = 0

    def after_update(self) -> Readings:
        """At the new weights."""
        network = self.network
        trained = [at for at, p in enumerate(network.parameters.values()) if p.requires_grad]
        if network.probe_loss is None or not trained:
            return {}
        turn = [(self._next + at) % len(trained) for at in range(min(self.settings.blocks, len(trained)))]
        self._next = (turn[-1] + 1) % len(trained)
        named = list(network.parameters.items())
        with undisturbed(network.model):
            with TwiceDifferentiable():
                loss = network.probe_loss()
            graph = GradientGraph(loss, [named[at][1] for at in trained])
            with torch.no_grad():
                values = [self._largest(graph, number, *named[trained[number]]) for number in turn]
        found = torch.tensor(values, dtype=torch.float32)
        return {
            "curvature.block_sharpness": network.spread(
                found.to(network.device), [trained[number] for number in turn], len(named)
            )
        }

    def _largest(self, graph: GradientGraph, number: int, name: str, parameter: Tensor) -> float:
        wide = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        start, warm = self._starts.start(name, parameter.numel(), torch.zeros_like(parameter, dtype=wide))
        found = lanczos(
            graph.block(number),
            start,
            tolerance=self.settings.tolerance,
            max_products=self.settings.max_products,
            min_products=_WARM_PRODUCTS if warm else 1,
        )
        self._starts.keep(name, found.vector)
        return found.value

    def state_dict(self) -> dict[str, Any]:
        """Whose turn is next, and where each goes on from."""
        return {"starts": self._starts.state_dict(), "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._starts.load_state_dict(state["starts"])
        self._next = state["next"]
