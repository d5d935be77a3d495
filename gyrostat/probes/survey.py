"""What a sample of an output on a CPU tells where there is no kernel, and where in the output its elements lie.

A read of all elements for all quantities takes a dozen passes over memory. One pass tells the largest magnitude; means,
powers, zeros, saturated elements and channels are those of a sample, of which a few operations tell all outputs'.
"""

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

SAMPLE = 8192
"""Elements of a sample: a fraction of 1/2 is told to 0.011, a normal distribution's root mean square to 1.6 % and its
kurtosis to 3.6 % (two standard errors, where elements are independent)."""

WHOLE = 4 * SAMPLE
"""Up to so many elements of an output, all are looked at."""

_POSITIONS = 16
"""Samples, positions or pixels that are looked at of each unit or channel, at least."""

_RUN, _SHORT_RUN = 16, 4
"""Elements side by side that are copied together, at most (as many as come into the cache at once) and at least."""

_TOGETHER = 1 << 17
"""Elements of samples that are looked at together: they stay in the cache between the operations."""

_OFF_CENTRE = 0.1
"""A variance below so much of the mean square costs central moments digits when it is formed of powers of x."""


class Sample(NamedTuple):
    """Where the elements of a sample lie in an output's memory.

    Attributes:
        shape, strides: of a view of these elements, in elements; channels are its last one or two axes.
        offset: of the view's first element.
        positions: how many elements there are of each channel.
        order: of the runs that make up a position, each one's place; None where there is one.
        whole: whether these are all elements.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    positions: int
    order: tuple[int, ...] | None
    whole: bool = False


@lru_cache
def sample_of(outer: int, channels: int, inner: int) -> Sample:
    """Of (outer, channels, inner), contiguous: about `SAMPLE` elements, as many of each channel, evenly spread."""
    if outer * channels * inner <= WHOLE:
        return Sample((outer, inner, channels), (channels * inner, 1, inner), 0, outer * inner, None, whole=True)
    positions = min(max(_POSITIONS, -(-SAMPLE // channels)), outer * inner)
    return _of_rows(outer, channels, positions) if inner == 1 else _of_planes(outer, channels, inner, positions)


def _of_rows(outer: int, channels: int, positions: int) -> Sample:
    """Runs at one distance from each other, which come by every channel as often, and hardly twice by a row.

    Of 256 rows of 512, a run is 16 elements, the next one 15 x 16 elements further: 32 of them come by all channels.
    """
    run = gcd(channels, _RUN)
    run = channels if run < _SHORT_RUN else run
    runs = channels // run
    # odd: a place in sequences, which are of even lengths, is not kept to
    shift = _odd(outer // positions)
    while gcd(shift, runs) > 1:
        shift -= 2
    step, positions = shift * run, outer // shift
    left_over = outer - positions * shift
    order = tuple(at * shift % runs for at in range(runs)) if runs > 1 else None
    return Sample(
        (positions, runs, run), (runs * step, step, 1), left_over // 2 * channels, positions,
        order and tuple(int(place) for place in np.argsort(order)),
    )  # fmt: skip


def _of_planes(outer: int, channels: int, inner: int, positions: int) -> Sample:
    """Some pixels of every channel of images, one further in every image until all were looked at."""
    pixels = min(inner, -(-positions // outer))
    every = _odd(outer // -(-positions // pixels))
    images, step = outer // every, _odd(inner // pixels)
    each = images // -(-images // step)
    skew = step // each
    if 4 * skew * each < 3 * step:  # else parts of the image stay unseen
        skew += 1
    if pixels == 1:  # else some are in odd columns already, as the step is odd
        skew += 1 - skew % 2
    each = min(each, step // skew)
    if 4 * (images % each) > images:  # else too many are left over
        each = images // -(-images // each)
    rounds, whole = images // each, channels * inner
    offset = every // 2 * whole + (inner - (pixels - 1) * step - each * skew) // 2
    return Sample(
        (rounds, each, pixels, channels), (each * every * whole, every * whole + skew, step, inner),
        offset, rounds * each * pixels, None,
    )  # fmt: skip


def _odd(number: int) -> int:
    """The largest odd number up to this one; 1 at least."""
    return max(1, number - 1 + number % 2)


class Found(NamedTuple):
    """Of n samples.

    Attributes:
        powers: (n, 4) mean powers x, x², x³, x⁴, right to central moments where float32 holds them.
        zeros: (n,) share of exact zeros.
        squares: (n, channels): Σx² of each.
        alive: (n, channels): whether its elements' squares are not 0; of all elements, whether these are not.
        variances: (n,) of a channel's Σx², for being that of a sample.
    """

    powers: Float64Array
    zeros: Float64Array
    squares: Float32Array | Float64Array
    alive: npt.NDArray[np.bool_]
    variances: Float64Array


def look_at(samples: Float32Array, sample: Sample) -> Found:
    """`samples`: (n, positions, channels) float32, as `sample` lies."""
    count, elements = len(samples), samples[0].size
    some = -(-count // -(-samples.size // _TOGETHER))
    parts = [_sums(samples[at : at + some], sample.whole) for at in range(0, count, some)]
    sums, zeros, squares, alive = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    powers = sums.astype(np.float64)
    powers /= elements
    mean, mean_square = powers[:, 0], powers[:, 1]
    off_centre = mean_square - mean * mean < _OFF_CENTRE * mean_square
    if off_centre.any():
        powers[off_centre] = _shifted(samples[off_centre].reshape(-1, elements), mean[off_centre])
    if sample.whole:
        return Found(powers, zeros / elements, squares, alive, np.zeros(count))
    if sample.order is not None:
        squares = squares.reshape(count, len(sample.order), -1)[:, sample.order].reshape(squares.shape)
    # of one element's square, within channels
    variances = powers[:, 3] - np.vecdot(squares, squares) / (squares.shape[1] * sample.positions**2)
    return Found(powers, zeros / elements, squares, squares != 0, np.maximum(variances, 0) * sample.positions)


def _sums(samples: Float32Array, whole: bool) -> tuple[npt.NDArray[Any], ...]:
    """(n, 4) Σx, Σx², Σx³, Σx⁴, (n,) zeros, (n, channels) Σx², and if `whole` which have other than zeros."""
    table = samples.reshape(len(samples), -1)
    square, zero = table * table, table == 0
    products = ((table, _ones(table.shape[1])), (table, table), (table, square), (square, square))
    sums = np.array([np.vecdot(*product) for product in products]).T
    zeros = np.array([np.count_nonzero(each) for each in zero])
    if whole:
        return sums, zeros, square.reshape(samples.shape).sum(1, dtype=np.float64), ~zero.reshape(samples.shape).all(1)
    # a product, since sums over the first one of short axes are a tenth as quick
    return sums, zeros, np.matmul(_ones(samples.shape[1]), square.reshape(samples.shape)), zeros


@lru_cache
def _ones(count: int) -> Float32Array:
    return np.ones(count, dtype=np.float32)


def _shifted(samples: Float32Array, near: Float64Array) -> Float64Array:
    """Through the powers of x − c, where c is about the mean."""
    pivots = near.astype(np.float32)
    away = samples - pivots[:, None]
    (m1, m2, m3, m4), c = _central(away), pivots.astype(np.float64)
    return np.stack(
        [
            c + m1,
            m2 + c * (2 * m1 + c),
            m3 + c * (3 * m2 + c * (3 * m1 + c)),
            m4 + c * (4 * m3 + c * (6 * m2 + c * (4 * m1 + c))),
        ],
        axis=1,
    )


def _central(away: Float32Array) -> Float64Array:
    """(4, n)"""
    square = away * away
    sums = (away.sum(1), np.vecdot(away, away), np.vecdot(away, square), np.vecdot(square, square))
    central: Float64Array = np.stack(sums).astype(np.float64) / away.shape[1]
    return central
