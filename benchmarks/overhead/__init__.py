"""What watching costs a training step, in CPU time: this project's probes beside bare training, limits and peers.

CPU time of the process, one torch thread, the variants interleaved in one process on equal copies of each net.
1.00 is bare training; within some hundredths of it is noise. Peers are measured where they are installed.
"""

import argparse
import ctypes
import os
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from benchmarks.overhead import others
from benchmarks.overhead.cases import cases
from benchmarks.overhead.others import Variant
from benchmarks.overhead.ours import cheap, counted, every, only, watched, without_kernels
from benchmarks.ratios import Ratio, interleaved, table
from gyrostat.spec.probes import Probes

FIRST_ORDER = ("gradients", "weights", "activations")

OURS: dict[str, Variant] = {
    "gradients and activations, every step": watched(only("gradients", "activations")),
    "gradients, updates and activations, every step": watched(only(*FIRST_ORDER)),
    "the same without a compiler": without_kernels(watched(only(*FIRST_ORDER))),
    "all cheap probes, every step": watched(every(1, *cheap())),
    "all cheap probes, every 10 steps": watched(every(10, *cheap())),
    "all cheap probes, every 100 steps": watched(every(100, *cheap())),
    "all probes and the recorder, default cadence and budget": watched(Probes()),
}

COUNTED = {
    "gradients, updates and activations, every step": counted(only(*FIRST_ORDER)),
    "the same without a compiler": counted(only(*FIRST_ORDER), without_kernels),
    "all cheap probes, every step": counted(every(1, *cheap())),
}

GOALS = {
    "gradients, updates and activations, every step": {"MLP": "<= 1.03", "CNN": "<= 1.03", "GPT": "<= 1.02"},
    "the same without a compiler": {"MLP": "<= 1.05", "CNN": "<= 1.05", "GPT": "<= 1.03"},
    "all probes and the recorder, default cadence and budget": dict.fromkeys(("MLP", "CNN", "GPT"), "<= 1.02"),
}

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""As mallopt has them."""


def variants() -> dict[str, Variant]:
    """All, bare training first and once more, which shows the noise."""
    return {
        "bare": others.bare,
        "bare, once more": others.bare,
        **others.peers(),
        "naive hooks, every step": others.naive,
        "one read of every output, the floor": others.one_read,
        "fused pass over every output alone, the ideal": others.fused_kernel,
        **OURS,
    }


def measure(net: nn.Module, inputs: Tensor, targets: Tensor, rounds: int, turn: float) -> dict[str, Ratio]:
    """Ratios to bare training; a variant's turn is so many seconds of bare training."""
    bare = others.bare(deepcopy(net), inputs, targets)
    began = time.process_time()
    for _ in range(3):
        bare()
    steps = max(1, round(3 * turn / (time.process_time() - began)))

    def timed(make: Variant) -> Callable[[], float]:
        step = make(deepcopy(net), inputs, targets)
        step()  # what happens once is not what watching costs

        def run() -> float:
            before = time.process_time()
            for _ in range(steps):
                step()
            return (time.process_time() - before) / steps

        return run

    return interleaved({name: timed(make) for name, make in variants().items()}, reference="bare", rounds=rounds)


def keep_memory() -> None:
    """Has the C library keep what is freed: to get it again page by page is a tenth of a CNN's step, now and then."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(parameter, 1 << 30)


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and the goals beside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--turn", type=float, default=0.4, help="seconds of bare training in a variant's turn")
    parser.add_argument("--nets", nargs="+", default=["MLP", "CNN", "GPT"], help="some of them")
    parser.add_argument("--counted", action="store_true", help="what sessions count of themselves, and nothing else")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_memory()
    chosen = {name: case for name, case in cases().items() if name in options.nets}
    if options.counted:
        own = {
            name: {row: f"{count(deepcopy(net), *data):.3f}" for row, count in COUNTED.items()}
            for name, (net, *data) in chosen.items()
        }
        print(table("A step over what is not the session's of it, as the session counts", own))
        print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.")
        return
    results = {name: measure(*case, options.rounds, options.turn) for name, case in chosen.items()}
    print(table("CPU time of a training step, over bare training: median [middle half]", results))
    goals = {case: {row: goal[case] for row, goal in GOALS.items()} for case in results}
    print(table("Goals", goals))
    for name in others.missing():
        print(f"{name} is not installed, and left out.")
    print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.")
