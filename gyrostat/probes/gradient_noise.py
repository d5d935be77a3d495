"""How much of the gradient is noise of its samples.

Let gᵢ be the mean gradient of bᵢ samples, of k parts that have no sample in common, and G that of all B samples. With μ
the true gradient and Σ the covariance of one sample's, E‖gᵢ‖² = ‖μ‖² + tr Σ/bᵢ and E‖G‖² = ‖μ‖² + tr Σ/B. With
β = Σᵢbᵢ over the parts that were seen, which need not be all,

    s = Σᵢ bᵢ‖gᵢ‖²/β,    tr Σ ≈ (s − ‖G‖²)/(k/β − 1/B),    ‖μ‖² ≈ ‖G‖² − tr Σ/B,

both unbiased. For equal parts these are the estimates of McCandlish et al. 2018 (arXiv 1812.06162, appendix A.1) from
B_small = b and B_big = B, and where all parts were seen, tr Σ is Σᵢ bᵢ‖gᵢ − G‖²/(k − 1), the sample covariance's.
"""

from collections.abc import Collection
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gyrostat.probes.base import MicroBatch, Need, Probe, Readings
from gyrostat.probes.network import Network, absent, index
from gyrostat.probes.norms import norms
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.probes import GradientNoiseProbe

_FEWEST_SAMPLES = 2
"""Of a part of the probe batch: normalization by batch statistics refuses a single one."""


class Estimate(NamedTuple):
    """Of parameters (n,), or of one: tr Σ of one sample's gradient, ‖μ‖², and the samples of the whole gradient."""

    trace: Tensor
    signal: Tensor
    samples: int


def estimate(parts: Tensor, sizes: list[int], whole: Tensor, samples: int) -> Estimate:
    """From squared norms of the parts' mean gradients (k, n), their samples, and that of the whole (n,), of `samples`.

    The parts have fewer samples each than the whole; they need not be all of it.
    """
    seen, counts = sum(sizes), torch.tensor(sizes, dtype=parts.dtype)
    weights = (counts / seen).to(parts.device, non_blocking=True)
    trace = (weights @ parts - whole) / (len(sizes) / seen - 1 / samples)
    return Estimate(trace, whole - trace / samples, samples)


class GradientNoise(Probe):
    """Signal-to-noise ratio of each parameter's gradient, and the noise scale of all, at the weights of the step.

    Micro-batches are told apart by what each adds to the gradients, with a rounding error of the sum's: 1e-7 of it in
    float32, 4e-3 in bfloat16. Of several ranks it sees its own, and of its micro-batches all but the last, in whose
    backward pass the ranks' mean is taken. Where that leaves nothing to compare, parts of the probe batch are passed
    through the network. The noise scale is tr Σ/‖μ‖² of averages over the measurements, as in the paper, since the
    average of ratios is not the ratio of averages.
    """

    settings_type = GradientNoiseProbe
    needs = frozenset({Need.MICRO_BATCHES})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._averages: Tensor | None = None
        self.begin()

    def begin(self) -> None:
        """Starts from no micro-batch."""
        self._sizes: list[int] = []
        self._norms: list[Tensor] = []
        self._samples = self._ranks = 0
        self._last: dict[str, Tensor] = {}

    def after_micro_batch(self, part: MicroBatch) -> None:
        """Measures what it added to the gradients."""
        self._samples, self._ranks = self._samples + part.samples, part.ranks
        if part.reduced:
            return
        now = self.network.gradients()
        added = [gradient - self._last[name] if name in self._last else gradient for name, gradient in now.items()]
        self._sizes.append(part.samples)
        self._norms.append(self._placed(norms(added, self.network.device) / part.scale, now))
        for name, gradient in now.items():
            if name in self._last and not gradient.is_sparse:
                self._last[name].copy_(gradient)
            else:
                self._last[name] = gradient.clone()

    def after_backward(self) -> Readings:
        """From the step's micro-batches, where they tell anything."""
        found = self._of_micro_batches() or self._of_probe_batch()
        self.begin()
        return {} if found is None else self._readings(found)

    def _of_micro_batches(self) -> Estimate | None:
        whole, now = self._samples * self._ranks, self.network.gradients()
        if not self._sizes or not now or len(self._sizes) * whole <= sum(self._sizes):
            return None
        # each was weighted by its share of this rank's samples
        shares = torch.tensor([self._samples / size for size in self._sizes], dtype=self._norms[0].dtype)
        parts = torch.stack(self._norms) * shares.unsqueeze(1).to(self.network.device, non_blocking=True)
        total = self._placed(norms(list(now.values()), self.network.device), now)
        return estimate(parts.square(), self._sizes, total.square(), whole)

    def _of_probe_batch(self) -> Estimate | None:
        batch, network = self.network.probe_batch, self.network
        held = {name: p for name, p in network.parameters.items() if p.requires_grad}
        if batch is None or not held or batch.size < 2 * _FEWEST_SAMPLES:
            return None
        count = min(self.settings.parts, batch.size // _FEWEST_SAMPLES)
        bounds = [batch.size * at // count for at in range(count + 1)]
        sizes = [stop - start for start, stop in pairwise(bounds)]
        mean = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in held.values()]
        rows: list[Tensor] = []
        with undisturbed(network.model):
            for start, stop in pairwise(bounds):
                loss = batch.loss_of(batch.part(start, stop))
                found = torch.autograd.grad(loss, list(held.values()), allow_unused=True, materialize_grads=True)
                rows.append(self._placed(norms(found, network.device), held).square())
                torch._foreach_add_(
                    mean, [gradient.to_dense() for gradient in found], alpha=(stop - start) / batch.size
                )
        total = self._placed(norms(mean, network.device), held)
        return estimate(torch.stack(rows), sizes, total.square(), batch.size)

    def _readings(self, found: Estimate) -> Readings:
        noise = found.trace / found.samples
        ratio = (found.signal / noise).to(torch.float32)
        missing = absent(len(noise), noise.device)
        sums = torch.stack([found.trace.sum(), found.signal.sum()])
        last = torch.zeros_like(sums) if self._averages is None else self._averages.to(sums)
        memory = self.settings.memory
        # a step that overflowed is not to spoil all that follow
        averages = self._averages = torch.where(sums.isfinite().all(), memory * last + (1 - memory) * sums, last)
        scale = (averages[:1] / averages[1:]).to(torch.float32)
        return {
            "gradient.signal_to_noise": torch.where(noise <= 0, missing, ratio),
            "gradient.noise_scale": torch.where(averages[1:] > 0, scale, absent(1, scale.device)),
            "gradient.noise_trace": sums[0],
            "gradient.signal": sums[1],
        }

    def _placed(self, values: Tensor, names: Collection[str]) -> Tensor:
        """`values` of the parameters `names`, which are in the network's order, at their places; elsewhere 0."""
        if len(names) == len(self.network.parameters):
            return values
        places = [at for at, name in enumerate(self.network.parameters) if name in names]
        whole = values.new_zeros(len(self.network.parameters))
        return whole.index_copy_(0, index(places, self.network.device), values) if places else whole

    def state_dict(self) -> dict[str, Any]:
        """The averages of tr Σ and ‖μ‖², up to one factor."""
        return {} if self._averages is None else {"averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._averages = state.get("averages")
