"""Features of the probe batch, eval mode, and likenesses of their Gram matrices written out."""

from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.networks import CLASSES, Core
from gyrostat.doctor.references.registry import Values, reference

RIDGE = 1e-2
"""λ of `representation.probe_accuracy`, of standardized features and each sample."""


def features(network: nn.Module, images: Tensor) -> dict[str, Array]:
    """(N, ...) of each module's first call, in the order of calls."""
    copy = deepcopy(network).eval()
    found: dict[str, Array] = {}

    def keep(name: str) -> None:
        def hook(module: nn.Module, arguments: object, output: Tensor) -> None:
            found.setdefault(name, output.detach().numpy().copy())

        copy.get_submodule(name).register_forward_hook(hook)

    for name, module in copy.named_modules():
        if not list(module.children()):
            keep(name)
    with torch.no_grad():
        copy(images)
    return found


def unbiased_hsic(one: Array, other: Array) -> float:
    """Song et al. 2012, eq. 5: of Gram matrices without their diagonals."""
    n = len(one)
    k, m = (gram * (1 - np.eye(n)) for gram in (one, other))
    ones = np.ones(n)
    inner = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / (n - 1) / (n - 2)
    return float(inner - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


def alignment(one: Array, other: Array) -> float:
    """HSIC(K, L)/√(HSIC(K, K)·HSIC(L, L)) of linear kernels."""
    k, m = (flat @ flat.T for flat in (one.reshape(len(one), -1), other.reshape(len(other), -1)))
    return unbiased_hsic(k, m) / float(np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m)))


@reference("representation.cka_previous", least=1.0)
def cka_previous(moment: Moment) -> Values:
    """Of each module's with those of the module called before it."""
    found = list(features(moment.network, moment.probe_batch[0]).items())
    pairs = pairwise(found)
    return {name: alignment(now, before) for (_, before), (name, now) in pairs}


@reference("representation.cka_initial", least=1.0)
def cka_initial(moment: Moment) -> Values:
    """Of each module's with its own before training."""
    images = moment.probe_batch[0]
    now, first = features(moment.network, images), features(moment.start, images)
    return {name: alignment(now[name], first[name]) for name in now}


@reference("representation.probe_accuracy")
def probe_accuracy(moment: Moment) -> Values:
    """Share of every second sample that ridge regression on the others, by its normal equations, classifies rightly."""
    images, targets = moment.probe_batch
    wanted = np.eye(CLASSES)[targets.numpy()]
    found = {}
    for name, maps in features(moment.network, images).items():
        flat = maps.reshape(len(maps), -1)
        known, others = flat[0::2], flat[1::2]
        mean, deviation = known.mean(0), known.std(0)
        deviation[deviation == 0] = 1
        known, others = (known - mean) / deviation, (others - mean) / deviation
        offset = wanted[0::2].mean(0)
        penalty = RIDGE * len(known) * np.eye(known.shape[1])
        solution = np.linalg.solve(known.T @ known + penalty, known.T @ (wanted[0::2] - offset))
        guessed = (others @ solution + offset).argmax(1)
        found[name] = float((guessed == targets.numpy()[1::2]).mean())
    return found


@reference("representation.frequency_centroid")
def frequency_centroid(moment: Moment) -> Values:
    """Σ|F|²·f/Σ|F|² of transforms written out, over the two axes of images (N, C, H, W) or the one of (N, T, C)."""
    found = {}
    for name, maps in features(moment.network, moment.probe_batch[0]).items():
        if maps.ndim < 3 or isinstance(moment.network.get_submodule(name), Core):
            continue
        images = maps if maps.ndim == 4 else np.moveaxis(maps, 2, 1)[..., None]
        height, width = images.shape[2:]
        energy, moments = 0.0, 0.0
        for u, v in [(u, v) for u in range(height) for v in range(width) if u or v]:
            wave = np.exp(-2j * np.pi * np.add.outer(u * np.arange(height) / height, v * np.arange(width) / width))
            # beyond half of them, frequencies count backwards
            cycles = np.hypot(min(u, height - u) / height, min(v, width - v) / width)
            power = float((np.abs((images * wave).sum((2, 3))) ** 2).sum())
            energy, moments = energy + power, moments + power * float(cycles) / 0.5
        if energy > 0:
            found[name] = moments / energy
    return found
