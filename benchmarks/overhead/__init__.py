"""What watching costs a training step, in CPU time: this project's probes beside bare training, limits and peers.

CPU time of the process, one torch thread, the variants interleaved in one process on equal copies of each net.
1.00 is bare training; within some hundredths of it is noise. Peers are measured where they are installed.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from benchmarks.overhead import others
from benchmarks.overhead.cases import cases
from benchmarks.overhead.others import Variant
from benchmarks.overhead.ours import every, watched
from benchmarks.ratios import Ratio, interleaved, table
from gyrostat.spec.probes import Probes

OURS: dict[str, Probes] = {
    "cheap probes, every step": every(1, "cheap"),
    "cheap probes, every 10 steps": every(10, "cheap"),
    "cheap probes, every 100 steps": every(100, "cheap"),
    "cheap and moderate probes, every step": every(1, "cheap", "moderate"),
    "cheap and moderate probes, every 10 steps": every(10, "cheap", "moderate"),
    "all probes and the recorder, default cadence and budget": Probes(),
}

GOALS = {
    "cheap probes, every step": {"MLP": "<= 1.03", "CNN": "<= 1.03", "GPT": "<= 1.02"},
    "all probes and the recorder, default cadence and budget": dict.fromkeys(("MLP", "CNN", "GPT"), "<= 1.02"),
}
"""With the C kernel; without a compiler 1.05, 1.05 and 1.03 of the first."""


def variants() -> dict[str, Variant]:
    """All, bare training first."""
    return {
        "bare": others.bare,
        **others.peers(),
        "naive hooks, every step": others.naive,
        "one read of every output, the floor": others.one_read,
        "fused pass over every output alone": others.fused_kernel,
        **{name: watched(settings) for name, settings in OURS.items()},
    }


def measure(net: nn.Module, inputs: Tensor, targets: Tensor, rounds: int, steps: int) -> dict[str, Ratio]:
    """Ratios to bare training."""

    def timed(make: Variant) -> Callable[[], float]:
        step = make(deepcopy(net), inputs, targets)
        step()  # what happens once is not what watching costs

        def run() -> float:
            before = time.process_time()
            for _ in range(steps):
                step()
            return time.process_time() - before

        return run

    return interleaved({name: timed(make) for name, make in variants().items()}, reference="bare", rounds=rounds)


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and the goals beside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10, help="training steps of one variant's turn")
    parser.add_argument("--nets", nargs="+", default=["MLP", "CNN", "GPT"], help="some of them")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = {name: case for name, case in cases().items() if name in options.nets}
    results = {name: measure(*case, options.rounds, options.steps) for name, case in chosen.items()}
    print(table("CPU time of a training step, over bare training: median [middle half]", results))
    goals = {case: {row: goal[case] for row, goal in GOALS.items()} for case in results}
    print(table("Goals", goals))
