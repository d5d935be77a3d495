"""How fine the detail of feature maps is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_VARIATION = 1e-12
"""Maps whose energy without the mean is no larger than this, relative to all of it, vary by rounding only."""

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)  # fmt: skip
_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)


def spectral_centroid(maps: Tensor, axes: Sequence[int]) -> Tensor:
    """Σ|F|²·f/Σ|F|² over all frequencies but 0 along `axes`, 0-dim; F the discrete Fourier transform of `maps`.

    f is the length of the frequency vector over that of Nyquist's, half a cycle a place: 0 ... 1 along one axis,
    0 ... √2 along two. Energies of all samples and channels are added up. 0 where nothing varies along the axes; NaN
    where an element is not finite.
    """
    frequencies = [torch.fft.fftfreq(maps.shape[axis], dtype=maps.dtype, device=maps.device) / 0.5 for axis in axes]
    length = torch.stack(torch.meshgrid(*frequencies, indexing="ij")).norm(dim=0)
    energy = torch.fft.fftn(maps - maps.mean(tuple(axes), keepdim=True), dim=tuple(axes)).abs().square()
    energy = energy.movedim(tuple(axes), tuple(range(len(axes)))).flatten(len(axes)).sum(-1)
    # without the mean there is nothing at frequency 0 but rounding errors, and its length is 0
    total = energy.sum()
    flat = total <= _VARIATION * length.numel() * maps.square().sum()
    return torch.where(flat, 0.0, (energy * length).sum() / total)


class MapAxes:
    """Tells along which axes a module's output is a map: asked for each module in the order of their calls.

    Convolutions, pooling and batch and group normalization put channels first, (N, C, ...); linear maps, embeddings and
    layer normalization last, (N, ..., C). A module that says neither keeps what the module before it had, if its output
    has as many axes.
    """

    def __init__(self) -> None:
        self._axes: tuple[int, ...] = ()
        self._ndim = 0

    def of(self, module: nn.Module, output: Tensor) -> tuple[int, ...]:
        """The axes, all of at least two places; empty where the output is no map."""
        if isinstance(module, _CHANNELS_FIRST):
            self._axes, self._ndim = tuple(range(2, output.ndim)), output.ndim
        elif isinstance(module, _CHANNELS_LAST):
            self._axes, self._ndim = tuple(range(1, output.ndim - 1)), output.ndim
        elif output.ndim != self._ndim:
            return ()
        return tuple(axis for axis in self._axes if output.shape[axis] > 1)
