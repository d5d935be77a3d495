"""The largest factors by which weights can stretch a vector: of each matrix, of each layer, and of the network."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.hooks import first_tensor
from gyrostat.probes.lipschitz import LipschitzBound
from gyrostat.probes.network import Network, absent, index
from gyrostat.probes.norms import norms
from gyrostat.probes.operators import geometry, is_matrix, of_convolutions, of_matrices
from gyrostat.probes.singular import Gram, Largest, largest_singular_values, power_iterations
from gyrostat.probes.warmstart import WarmStarts, random_vector
from gyrostat.spec.probes import SpectralProbe

_WARM_ITERATIONS = 2
"""Power iterations of a measurement on an accelerator that starts from the last one's vectors."""

_STRICTER, _STRICTER_COLD = 3, 10
"""By how much smaller the estimated error has to be than the one that is asked for. It is of *some* singular value, and
from random vectors the iteration may settle on the second one."""

_LOOK_EVERY, _LOOKS = 20, 12
"""Every so many measurements on a CPU, so many products from random vectors tell whether there is something larger."""

_TOGETHER = 2**16
"""Elements of a weight, or of a layer's input, up to which those of one shape are worked on as one: of larger ones the
products take the time, and each should have its own end."""

_BASIS_BYTES = 2**28
"""Memory for the vectors of one Lanczos run, at most (but for three of each map)."""


class Spectral(Probe):
    """σ₁ of each weight with two or more dimensions, reshaped to (out, rest), and of what its layer makes of it.

    Each measurement starts from the last one's vectors. On a CPU it goes on until `tolerance` is met. On an accelerator
    that decision would make the host wait for the device, so the first measurement makes `max_iterations` power
    iterations, and most further ones two, from where the last ended: weights move little between measurements, and what
    is missing is made up over several of them.

    A convolution is the linear map of images of the size that it was last called with, in a step the largest; the
    vectors it starts from are such images, and no checkpoint holds them: after a resumption it starts anew.
    """

    settings_type = SpectralProbe
    needs = frozenset({Need.INPUTS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        on_host = network.device.type == "cpu"
        self._starts, self._image_starts = (WarmStarts(fresh=0.003, cold_every=0 if on_host else 20) for _ in range(2))
        weights = network.weights()
        layers = {at: layer for at, layer in enumerate(network.leaves.values()) if isinstance(layer, _ConvNd)}
        kernels = {at: (layer, weights[layer]) for at, layer in layers.items() if layer in weights}
        self._convolutions = {at: use for at, use in kernels.items() if not is_matrix(use[0])}
        self._kernels = {name for _, name in self._convolutions.values()}
        self._patches = {name for _, name in kernels.values()} - self._kernels
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._called: set[int] = set()
        self._bound = LipschitzBound(network)

    def begin(self) -> None:
        """Sizes of a new step."""
        self._called = set()

    def called(self, leaf: int, arguments: tuple[Any, ...]) -> None:
        """Notes how large the images of a convolution are."""
        if leaf not in self._convolutions or (images := first_tensor(arguments)) is None:
            return
        layer, _ = self._convolutions[leaf]
        size = tuple(images.shape[-len(layer.kernel_size) :])
        if leaf in self._called:
            size = tuple(map(max, size, self._sizes[leaf]))
        self._sizes[leaf] = size
        self._called.add(leaf)

    def after_update(self) -> Readings:
        """Of the new weights."""
        if not self.network.matrices:
            return {}
        # a loop that runs whole steps under autocast would have the products in half precision
        with torch.no_grad(), torch.autocast(self.network.device.type, enabled=False):
            weights = {name: _wide(matrix()) for name, matrix in self.network.matrices.items()}
            sigma = self._of_matrices(weights)
            stretch = self._of_layers(weights, sigma)
            sizes = norms(list(weights.values()), self.network.device)
            rank = torch.where(sigma == 0, absent(len(sigma), self.network.device), (sizes / sigma).square().float())
            readings: dict[str, Tensor | float] = {
                "weight.spectral_norm": sigma, "weight.stable_rank": rank, "weight.operator_norm": stretch,
            }  # fmt: skip
            if len(self._sizes) == len(self._convolutions) and (bound := self._bound.log(stretch)) is not None:
                readings["weight.lipschitz_bound"] = bound / math.log(10)
        return readings

    def _of_matrices(self, weights: dict[str, Tensor]) -> Tensor:
        """(matrices,) float32, in their order."""
        groups: dict[tuple[object, ...], list[int]] = {}
        matrices: list[Tensor] = []
        for at, weight in enumerate(weights.values()):
            matrix = weight.reshape(len(weight), -1) if weight.numel() else weight.new_zeros(1, 1)
            # of either side the same singular values, and the vector to keep is the shorter one
            matrices.append(matrix.mT if len(matrix) < matrix.shape[1] else matrix)
            alone = at if matrix.numel() > _TOGETHER else -1
            groups.setdefault((matrices[at].shape, matrix.dtype, matrix.device, alone), []).append(at)
        names, found = list(weights), []
        for places in groups.values():
            like = matrices[places[0]]
            gram = of_matrices([matrices[at] for at in places])
            found.append(self._largest(self._starts, names[places[0]], gram, like, len(places), like.shape[1]))
        return self._placed([at for places in groups.values() for at in places], found)

    def _of_layers(self, weights: dict[str, Tensor], sigma: Tensor) -> Tensor:
        """(matrices,) float32: of matrices σ₁ itself, of convolutions whose images were seen that of their map."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for leaf, size in self._sizes.items():
            layer, name = self._convolutions[leaf]
            weight = weights[name]
            alone = leaf if layer.in_channels * math.prod(size) > _TOGETHER else -1
            key = (*geometry(layer), weight.shape, weight.dtype, weight.device, size, alone)
            groups.setdefault(key, []).append(leaf)
        of_kernel: dict[str, Tensor] = {}
        for leaves in groups.values():
            size, sharing = self._sizes[leaves[0]], [self._convolutions[leaf][1] for leaf in leaves]
            layer, like = self._convolutions[leaves[0]][0], weights[sharing[0]]
            gram = of_convolutions(layer, [weights[name] for name in sharing], size)
            length, first = layer.in_channels * math.prod(size), f"{sharing[0]}#{leaves[0]}"
            values = self._largest(self._image_starts, first, gram, like, len(leaves), length)
            for name, value in zip(sharing, values, strict=True):
                of_kernel[name] = torch.maximum(value, of_kernel.get(name, value))
        plain = [at for at, (name, weight) in enumerate(weights.items()) if self._is_matrix(name, weight)]
        places = {name: at for at, name in enumerate(weights)}
        parts = [sigma[index(plain, sigma.device)]] if plain else []
        parts += [value.reshape(1) for value in of_kernel.values()]
        return self._placed([*plain, *(places[name] for name in of_kernel)], parts)

    def _is_matrix(self, name: str, weight: Tensor) -> bool:
        """Whether the weight acts as a matrix: any but a convolution's kernel that has a place beside its first."""
        if name in self._kernels:
            return False
        return weight.ndim == 2 or name in self._patches or weight.shape[2:].numel() == 1

    def _largest(self, starts: WarmStarts, name: str, gram: Gram, like: Tensor, number: int, length: int) -> Tensor:
        """(number,) σ₁ of so many maps, whose vectors have this length."""
        start, warm = starts.start(name, number * length, like)
        rows = start.reshape(number, length)
        if like.device.type == "cpu":
            found = self._on_host(gram, rows, warm, self.settings.max_iterations)
            if warm and (measurements := starts.starts(name)) % _LOOK_EVERY == 0:
                elsewhere = random_vector(rows.numel(), like, seed=-measurements).view_as(rows)
                found = self._looked(gram, elsewhere, found)
            sigma, vectors = torch.from_numpy(found.values), found.vectors
        else:
            sigma, vectors = power_iterations(gram, rows, _WARM_ITERATIONS if warm else self.settings.max_iterations)
            # whether they are finite is not asked, for the host would wait: NaN must not spoil later measurements
            vectors = torch.where(vectors.isfinite().all(1, keepdim=True), vectors, 0)
        starts.keep(name, vectors.reshape(-1) / math.sqrt(number))
        return sigma.to(self.network.device, torch.float32)

    def _on_host(self, gram: Gram, rows: Tensor, warm: bool, products: int) -> Largest:
        return largest_singular_values(
            gram,
            rows,
            tolerance=self.settings.tolerance / (_STRICTER if warm else _STRICTER_COLD),
            max_products=products,
            max_basis=max(3, min(64, _BASIS_BYTES // (rows.numel() * rows.element_size()))),
        )

    def _looked(self, gram: Gram, elsewhere: Tensor, found: Largest) -> Largest:
        """What was found, or what is larger: singular values cross, and an iteration stays with the vector it knows."""
        other = self._on_host(gram, elsewhere, False, min(_LOOKS, self.settings.max_iterations))
        if not (other.values > found.values).any():
            return found
        other = self._on_host(gram, other.vectors, False, self.settings.max_iterations)
        larger = other.values > found.values
        vectors = torch.where(torch.from_numpy(larger)[:, None], other.vectors, found.vectors)
        return replace(found, values=np.where(larger, other.values, found.values), vectors=vectors)

    def _placed(self, places: list[int], values: list[Tensor]) -> Tensor:
        """(matrices,) of values, joined, that belong to these places; absent elsewhere."""
        device, length = self.network.device, len(self.network.matrices)
        if not places:
            return absent(length, device)
        order = sorted(range(len(places)), key=places.__getitem__)
        joined = torch.cat(values)[index(order, device)]
        return self.network.spread(joined, sorted(places), length)

    def state_dict(self) -> dict[str, Any]:
        """Where the next measurement of the matrices starts from."""
        return self._starts.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._starts.load_state_dict(state)


def _wide(weight: Tensor) -> Tensor:
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.float()
