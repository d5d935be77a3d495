"""What the features of each module hold, layer after layer."""

import math
from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.features import Visit, features, visit_outputs
from gyrostat.probes.frequency import MapAxes, spectral_centroid
from gyrostat.probes.linear_probe import probe_accuracy
from gyrostat.probes.network import Network
from gyrostat.probes.similarity import MIN_SAMPLES, alignment, signature
from gyrostat.spec.probes import RepresentationProbe

MAX_SIGNATURE_BYTES = 2**26
"""Memory for the initial signatures of all modules, at most; they are in checkpoints too."""

MAX_MAP_ELEMENTS = 2**18
"""Elements of a module's feature maps that are transformed, but at least one sample's: fewer samples where a sample has
many."""

SAMPLES_PER_CLASS = 4
"""A linear probe needs at least so many, on average over classes."""


class Representation(Probe):
    """Likeness of features to those of the module before and to the initial ones, what a linear classifier reads out of
    them, and how fine feature maps are; see `visit_outputs` for which features those are.

    Initial is what the training begins with: weights at step 0, those that a fork starts from. Values are read one by
    one, so this probe waits for the device.
    """

    settings_type = RepresentationProbe
    needs = frozenset({Need.PROBE_BATCH})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._initial: dict[str, Tensor] = {}
        self._names = list(network.leaves)

    def start(self) -> None:
        """Keeps what the features are at first, unless a checkpoint had it."""

        def keep(leaf: int, output: Tensor) -> None:
            self._initial[self._names[leaf]] = signature(features(output)).float()

        if not self._initial:
            self._pass(keep)

    def after_update(self) -> Readings:
        """At the new weights."""
        values: dict[str, dict[int, float]] = {metric: {} for metric in self.settings.metrics}
        modules, labels, maps = list(self.network.leaves.values()), self._labels(), MapAxes()
        before: Tensor | None = None

        def measure(leaf: int, output: Tensor) -> None:
            nonlocal before
            found = features(output)
            now = signature(found)
            for metric, other in (("cka_previous", before), ("cka_initial", self._initial.get(self._names[leaf]))):
                # one that does not vary is like nothing; a checkpoint's may be of another number of samples
                if other is not None and other.shape == now.shape and now.any() and other.any():
                    values[f"representation.{metric}"][leaf] = alignment(now, other.to(now)).item()
            before = now
            if labels is not None:
                known, others = (slice(half, None, 2) for half in (0, 1))
                share = probe_accuracy(
                    found[known], labels[known], found[others], labels[others], int(labels.max()) + 1
                )
                values["representation.probe_accuracy"][leaf] = share.item()
            if axes := maps.of(modules[leaf], output):
                some = output[: max(1, MAX_MAP_ELEMENTS // output[0].numel())].to(found.dtype)
                if (centroid := spectral_centroid(some, axes).item()) != 0:
                    values["representation.frequency_centroid"][leaf] = centroid

        self._pass(measure)
        return {metric: self._spread(of_leaf) for metric, of_leaf in values.items() if of_leaf}

    def _pass(self, visit: Visit) -> None:
        batch, samples = self.network.probe_batch, self._samples()
        if batch is not None and samples >= MIN_SAMPLES:
            visit_outputs(self.network, batch, samples, visit)

    def _samples(self) -> int:
        """As many as are set and there, and as their signatures' memory allows."""
        batch, modules = self.network.probe_batch, len(self.network.leaves)
        if batch is None or not modules:
            return 0
        pairs = MAX_SIGNATURE_BYTES / (4 * modules)
        return min(int(self.settings.samples), batch.size, math.isqrt(int(2 * pairs)))

    def _labels(self) -> Tensor | None:
        """(n,) class numbers 0 ... K − 1 of the samples, if the last tensor of the batch is such and K is small."""
        batch = self.network.probe_batch
        if batch is None:
            return None
        targets = batch.part(0, self._samples())[-1]
        if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
            return None
        classes, numbers = torch.unique(targets, return_inverse=True)
        return numbers if 2 <= len(classes) <= len(targets) / SAMPLES_PER_CLASS else None

    def _spread(self, values: dict[int, float]) -> Tensor:
        found = torch.tensor(list(values.values()), dtype=torch.float32, device=self.network.device)
        return self.network.spread(found, list(values), len(self._names))

    def state_dict(self) -> dict[str, Any]:
        """The initial features' signatures, by module."""
        return {"initial": dict(self._initial)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._initial = {name: each.to(self.network.device) for name, each in state["initial"].items()}
