"""What the Hessian's largest eigenvalue and trace cost, and how wrong they are, during a short training.

Cost is CPU time in units of one forward and backward pass of the same batch, timed beside each measurement; one torch
thread. Every few steps of momentum descent on its batch a net is measured by this project's curvature probe, which goes
on from its last measurement, and at the end by what else is installed, which starts anew as it always does: PyHessian
(power iteration), curvlinops with SciPy's eigsh, hessian-eigenthings (Lanczos); `pip install --no-deps pyhessian
curvlinops-for-pytorch hessian-eigenthings` is enough for them. The errors are against a long Lanczos run, and for
traces against many products. The nets are `benchmarks.overhead`'s. Each row is told on standard error as soon as it is
measured, and each net's table printed when that is done. Twelve minutes of one core.
"""

import argparse
import importlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.overhead.cases import cases, loss_of
from benchmarks.ratios import table
from gyrostat.probes.curvature import Curvature
from gyrostat.probes.eigenpairs import Subspace, trace
from gyrostat.probes.estimators import GradientGraph, lanczos
from gyrostat.probes.network import Network
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.probes.warmstart import random_signs, random_vector
from gyrostat.spec.probes import CurvatureProbe

Cells = dict[str, tuple[str, str]]
"""By row: what is said of the largest eigenvalue, and of the trace."""

COLD = "this project: the first eigenvalue of a training, alone"
ALONE = "this project: the eigenvalue alone"
EVERYTHING = "this project: eigenvalue, trace, blocks, along the gradient"


@dataclass(frozen=True)
class Problem:
    """A net in training on one batch."""

    net: nn.Module
    inputs: Tensor
    targets: Tensor

    def loss(self) -> Tensor:
        return loss_of(self.net, self.inputs, self.targets)

    def parameters(self) -> list[nn.Parameter]:
        return list(self.net.parameters())


@dataclass(frozen=True)
class Found:
    """A measurement: its cost in passes, and what it says of the largest eigenvalue and of the trace."""

    cost: float
    eigenvalue: float | None
    trace: float | None


@dataclass(frozen=True, eq=False)
class End:
    """The last reference of a training: the largest eigenvalue and its vector; and the last pass, in seconds."""

    eigenvalue: float
    vector: Tensor
    unit: float


def flat_criterion(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    value = run()
    return time.process_time() - before, value


def one_pass(problem: Problem) -> float:
    """CPU seconds of forward and backward."""

    def run() -> None:
        problem.net.zero_grad()
        problem.loss().backward()  # type: ignore[no-untyped-call]

    return statistics.median(seconds(run)[0] for _ in range(3))


def pyhessian(problem: Problem) -> tuple[float, float | None]:
    operator = importlib.import_module("pyhessian").hessian(
        problem.net, flat_criterion, data=(problem.inputs, problem.targets), cuda=False
    )
    (value,), _ = operator.eigenvalues(maxIter=100, tol=1e-2, top_n=1)
    return value, None


def pyhessian_trace(problem: Problem) -> tuple[float | None, float]:
    operator = importlib.import_module("pyhessian").hessian(
        problem.net, flat_criterion, data=(problem.inputs, problem.targets), cuda=False
    )
    return None, statistics.mean(operator.trace(maxIter=12, tol=0.0))


class Flat(nn.Module):
    """The net with an output a row, as a cross-entropy module takes them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.net(inputs)
        return outputs.reshape(-1, outputs.shape[-1])


def curvlinops(problem: Problem) -> Any:
    return importlib.import_module("curvlinops").HessianLinearOperator(
        Flat(problem.net),
        nn.CrossEntropyLoss(),
        problem.parameters(),
        [(problem.inputs, problem.targets.reshape(-1))],
        check_deterministic=False,
    )


def curvlinops_eigenvalue(problem: Problem) -> tuple[float, None]:
    eigsh = importlib.import_module("scipy.sparse.linalg").eigsh
    (value,) = eigsh(curvlinops(problem).to_scipy(), k=1, which="LA", tol=1e-2, return_eigenvectors=False)
    return float(value), None


def curvlinops_trace(problem: Problem) -> tuple[None, float]:
    return None, float(importlib.import_module("curvlinops").hutchpp_trace(curvlinops(problem), num_matvecs=12))


def eigenthings(problem: Problem) -> tuple[Any, Any]:
    package = importlib.import_module("hessian_eigenthings")
    operator = package.HessianOperator(
        problem.net, [(problem.inputs, problem.targets)], package.supervised_loss(flat_criterion)
    )
    return package, operator


def eigenthings_eigenvalue(problem: Problem) -> tuple[float, None]:
    package, operator = eigenthings(problem)
    return float(package.lanczos(operator, k=1, max_iter=20, which="LA", seed=0).eigenvalues[0]), None


def eigenthings_trace(problem: Problem) -> tuple[None, float]:
    package, operator = eigenthings(problem)
    return None, float(package.trace(operator, num_matvecs=12, seed=0).estimate)


PEERS: dict[str, tuple[str, Callable[[Problem], tuple[float | None, float | None]]]] = {
    "PyHessian: power iteration, largest magnitude": ("pyhessian", pyhessian),
    "curvlinops + SciPy eigsh": ("curvlinops scipy.sparse.linalg", curvlinops_eigenvalue),
    "hessian-eigenthings: Lanczos, 20 products": ("hessian_eigenthings", eigenthings_eigenvalue),
    "PyHessian: Hutchinson, 12 products": ("pyhessian", pyhessian_trace),
    "curvlinops: Hutch++, 12 products": ("curvlinops", curvlinops_trace),
    "hessian-eigenthings: Hutch++, 12 products": ("hessian_eigenthings", eigenthings_trace),
}


def peer(problem: Problem, modules: str, measure: Callable[[Problem], Any], unit: float) -> Found | str:
    try:
        for module in modules.split():  # not on the clock
            importlib.import_module(module)
    except ImportError:
        return "not installed"
    with undisturbed(problem.net), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using backward")  # of PyHessian's way to its graph
        spent, (value, total) = seconds(lambda: measure(problem))
    problem.net.train()
    problem.net.zero_grad()
    return Found(spent / unit, value, total)


def reference(problem: Problem, start: Tensor | None, products: int) -> tuple[float, Tensor]:
    """Largest eigenvalue and its vector, by a run of its own from its own last vector and something random."""
    with undisturbed(problem.net), torch.no_grad():
        with torch.enable_grad():
            graph = GradientGraph(problem.loss(), problem.parameters())
        fresh = random_vector(len(graph.gradient), graph.gradient, seed=77)
        start = fresh if start is None else torch.add(start, fresh, alpha=0.3)
        found = lanczos(graph.product, start, tolerance=5e-3, max_products=products)
    assert found.vector is not None, "a product was not finite: the training has diverged"
    return found.value, found.vector


def reference_trace(problem: Problem, vector: Tensor, products: int) -> tuple[float, float]:
    """The trace and its standard error; the vector is one on which it is exact."""
    with undisturbed(problem.net), torch.no_grad():
        with torch.enable_grad():
            graph = GradientGraph(problem.loss(), problem.parameters())
        space = Subspace(graph.product, vector, len(vector), 4)
        space.extend(vector)
        signs = [random_signs(len(vector), vector, seed=1000 + seed) for seed in range(products)]
        total = trace(graph.product, space, signs)
    return float(total.total), float(total.error)


def train(problem: Problem, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        problem.loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def own(problem: Problem, options: argparse.Namespace, tell: Callable[[str, str], None]) -> tuple[Cells, End]:
    """This project's cells, by row and column, and what the training ended with, for the others to be held against."""
    optimizer = torch.optim.SGD(problem.net.parameters(), lr=options.rate, momentum=0.9)
    network = Network(problem.net, optimizer, probe_loss=problem.loss)
    alone = CurvatureProbe(trace_samples=0, along_gradient=False)
    probes = {ALONE: Curvature(alone, network), EVERYTHING: Curvature(CurvatureProbe(), network)}
    spent: dict[str, list[float]] = {name: [] for name in probes}
    missed: dict[str, list[float]] = {name: [] for name in probes}
    told, vector = "", None
    train(problem, optimizer, options.before)
    for number in range(1, options.measurements + 1):
        train(problem, optimizer, options.every)
        unit = one_pass(problem)
        true, vector = reference(problem, vector, options.products)
        for name, probe in probes.items():
            taken, found = seconds(probe.after_update)
            spent[name].append(taken / unit)
            missed[name].append(abs(float(found["curvature.sharpness"]) / true - 1))
            tell(f"{name}, measurement {number}", f"{spent[name][-1]:.1f} ({missed[name][-1]:.2%})")
        told = f"{float(found['curvature.trace']):.3g} ± {float(found['curvature.trace_error']):.2g}"
    assert vector is not None, "there has to be a measurement"
    cells: Cells = {COLD: (f"{spent[ALONE][0]:.1f} ({missed[ALONE][0]:.1%})", "")}
    for name in probes:
        # the first one starts cold
        costs, worst = spent[name][1:], max(missed[name][1:])
        cell = f"{statistics.median(costs):.1f} [{min(costs):.1f}-{max(costs):.1f}] ({worst:.1%} at most)"
        cells[name] = (cell, told if name == EVERYTHING else "")
    return cells, End(true, vector, unit)


def measured(problem: Problem, options: argparse.Namespace, tell: Callable[[str, str], None]) -> Cells:
    """The cells of a net, by row: what the largest eigenvalue cost, and the trace."""
    cells, end = own(problem, options, tell)
    total, total_error = reference_trace(problem, end.vector, options.trace_products)
    cells["reference"] = ("", f"{total:.3g} ± {total_error:.2g}")
    for name, (modules, measure) in PEERS.items():
        outcome = peer(problem, modules, measure, end.unit)
        if isinstance(outcome, str):
            cells[name] = (outcome, outcome)
        elif outcome.trace is not None:
            cells[name] = ("", f"{outcome.trace:.3g}, cost {outcome.cost:.1f}")
        elif outcome.eigenvalue is not None:
            cells[name] = (f"{outcome.cost:.1f} ({abs(outcome.eigenvalue / end.eigenvalue - 1):.1%})", "")
        tell(name, " ".join(cells[name]))
    return cells


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=int, default=6, help="of a training; the first is told apart")
    parser.add_argument("--before", type=int, default=40, help="training steps before the first")
    parser.add_argument("--every", type=int, default=10, help="training steps between two")
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate")
    parser.add_argument("--products", type=int, default=40, help="of a reference's eigenvalue, at most")
    parser.add_argument("--trace-products", type=int, default=16, help="of the reference's trace")
    parser.add_argument("--nets", nargs="+", default=["MLP", "CNN", "GPT"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for net, case in cases().items():
        if net not in options.nets:
            continue

        def tell(row: str, cell: str, net: str = net) -> None:
            print(f"{net}: {row}: {cell}", file=sys.stderr, flush=True)

        cells = measured(Problem(*case), options, tell)
        columns = {
            column: {row: of[at] for row, of in cells.items()}
            for at, column in enumerate(("largest eigenvalue: cost (relative error)", "trace ± its standard error"))
        }
        print(table(f"{net}: cost in forward and backward passes", columns), flush=True)


if __name__ == "__main__":
    main()
