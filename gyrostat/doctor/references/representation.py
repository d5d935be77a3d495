"""Features of the probe batch, eval mode, and likenesses of their Gram matrices written out."""

from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.references.registry import WITHOUT, Values, reference

WITHOUT["representation.probe_accuracy"] = (
    "a share of few samples, so that one rounding of a tie decides; compared with scikit-learn's ridge classifier in "
    "tests/gyrostat/probes/test_linear_probe.py"
)
WITHOUT["representation.frequency_centroid"] = (
    "which axes are space is the probe's own convention; compared with sums written out in "
    "tests/gyrostat/probes/test_frequency.py"
)


def features(network: nn.Module, images: Tensor) -> dict[str, Array]:
    """(N, F) of each module's first call, in the order of calls."""
    copy = deepcopy(network).eval()
    found: dict[str, Array] = {}

    def keep(name: str) -> None:
        def hook(module: nn.Module, arguments: object, output: Tensor) -> None:
            found.setdefault(name, output.detach().flatten(1).numpy().copy())

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
    k, m = one @ one.T, other @ other.T
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
