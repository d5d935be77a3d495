"""Numbers of a trained net from its checkpoint: what a probe streams too is formed by the probe's own functions."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.claims.results import Run
from gyrostat.probes import eigenpairs, gradient_noise
from gyrostat.probes.estimators import GradientGraph
from gyrostat.probes.ranks import effective_and_stable
from gyrostat.probes.similarity import alignment, signature
from gyrostat.probes.smoothness import displaced
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.probes.warmstart import random_signs
from trainer.data.batches import Batch
from trainer.tasks import Task

SAMPLES = 256
"""Of the fixed batch that a number is taken on."""


def evaluated(task: Task, batch: Batch) -> dict[str, float]:
    """Loss and measures of a batch in eval mode; what a validation tallies by bin or by class is left out."""
    task.model.eval()
    with torch.no_grad():
        found = task.evaluate(task.model, batch)
    return {name: float(value) for name, value in found.items() if value.ndim == 0}


def gap(run: Run) -> float:
    """Validation loss less the plain loss (eval mode, nothing augmented) on 1024 training samples, after training."""
    task = run.task()
    return run.last("loss.validation") - evaluated(task, task.batches.fixed(1024))["loss"]


def trainable(task: Task) -> list[nn.Parameter]:
    """The parameters that the task trains."""
    return [p for p in task.model.parameters() if p.requires_grad]


def gradients(task: Task, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Training loss of the batch and its gradient, batch statistics of the batch."""
    loss = task.loss(task.model, batch)[0]
    return loss.detach(), list(torch.autograd.grad(loss, trainable(task)))


def norm(vectors: Sequence[Tensor]) -> float:
    """‖v‖₂ over all tensors together."""
    return float(nn.utils.get_total_norm(list(vectors)))


def loss_range_along_gradient(task: Task, rates: Sequence[float], *, samples: int = SAMPLES) -> float:
    """Largest less smallest training loss over steps θ − η∇L (Santurkar et al. 2018, 1805.11604, fig. 4a)."""
    batch = task.batches.fixed(samples)
    with undisturbed(task.model):
        task.model.train()
        _, gradient = gradients(task, batch)
        losses = []
        for rate in rates:
            with displaced(trainable(task), gradient, -rate), torch.no_grad():
                losses.append(float(task.loss(task.model, batch)[0]))
    return max(losses) - min(losses)


def gradient_range_along_gradient(task: Task, rates: Sequence[float], *, samples: int = SAMPLES) -> float:
    """Largest ‖∇L(θ − η∇L) − ∇L(θ)‖/‖∇L(θ)‖ over these η (Santurkar et al. 2018, 1805.11604, fig. 4b)."""
    batch = task.batches.fixed(samples)
    with undisturbed(task.model):
        task.model.train()
        _, here = gradients(task, batch)
        changes = []
        for rate in rates:
            with displaced(trainable(task), here, -rate):
                _, there = gradients(task, batch)
            changes.append(norm([a - b for a, b in zip(there, here, strict=True)]) / norm(here))
    return max(changes)


def ascent_sharpness(task: Task, rho: float, *, samples: int = 1024) -> float:
    """L(θ + ρ∇L/‖∇L‖) − L(θ) (Foret et al. 2020, 2010.01412, eq. 2)."""
    batch = task.batches.fixed(samples)
    with undisturbed(task.model):
        task.model.train()
        loss, gradient = gradients(task, batch)
        with displaced(trainable(task), gradient, rho / max(norm(gradient), 1e-12)), torch.no_grad():
            return float(task.loss(task.model, batch)[0] - loss)


def hessian_trace(task: Task, *, draws: int = 40, samples: int = 1024) -> float:
    """Trace of the training loss's Hessian: Hutch++ with a basis of at most 20 vectors, as the curvature probe has it.

    Source: Meyer et al. 2021, 2010.09649, algorithm 1; signs from fixed seeds.
    """
    with undisturbed(task.model):
        task.model.train()
        graph = GradientGraph(task.loss(task.model, task.batches.fixed(samples))[0], trainable(task))
        start = graph.gradient
        space = eigenpairs.Subspace(graph.product, start, len(start), 20)
        if space.extend(start):
            space.refine(0, tolerance=0.01, max_products=20)
        signs = [random_signs(len(start), start, seed) for seed in range(draws)]
        return float(eigenpairs.trace(graph.product, space, signs).total)


def outputs_of(task: Task, inputs: tuple[Tensor, ...], chosen: Callable[[str, nn.Module], bool]) -> dict[str, Tensor]:
    """What the chosen modules put out for the inputs, in eval mode, by name and in the order in which they run."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda m, a, out, name=name: found.setdefault(name, out.detach()))
        for name, module in task.model.named_modules()
        if chosen(name, module)
    ]
    try:
        task.model.eval()
        with torch.no_grad():
            task.model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def effective_rank(features: Tensor) -> float:
    """exp(−Σ p·ln p), p = σ/Σσ, of centred features (N, F) (Roy and Vetterli 2007); the probe centres nothing."""
    return float(effective_and_stable((features - features.mean(0)).unsqueeze(0))[0])


def cka(first: Tensor, second: Tensor) -> float:
    """Linear centered kernel alignment of features (N, F) and (N, G), its HSIC unbiased (Nguyen et al. 2020, eq. 3)."""
    return float(alignment(signature(first.flatten(1).double()), signature(second.flatten(1).double())))


def product_of_norms(model: nn.Module) -> float:
    """Π‖W_l‖₂ of the linear layers' weights as they are used, by SVD in float64; infinite where training diverged."""
    weights = [module.weight.detach() for module in model.modules() if isinstance(module, nn.Linear)]
    if not all(weight.isfinite().all() for weight in weights):
        return math.inf
    return float(torch.stack([torch.linalg.matrix_norm(weight.double(), ord=2) for weight in weights]).prod())


def normalized_margins(task: Task, *, samples: int = 1024) -> Tensor:
    """(z_y − max of the others)/Π‖W_l‖₂ of training samples, sorted (Bartlett et al. 2017, 1706.08498, section 2)."""
    inputs, labels = task.batches.fixed(samples)
    task.model.eval()
    with torch.no_grad():
        logits = task.model(inputs).double()
        right = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    margins: Tensor = (right - others) / product_of_norms(task.model)
    return margins.sort().values


def gradient_noise_scale(task: Task, *, small: int, large: int, repeats: int = 20) -> float:
    """tr Σ/‖μ‖² of means over batches of `large` samples, each in parts of `small` (McCandlish et al. 2018, A.1)."""
    inputs, labels = task.batches.fixed(large * repeats)
    sizes = [small] * (large // small)

    def squared(at: int, count: int) -> float:
        return norm(gradients(task, (inputs[at : at + count], labels[at : at + count]))[1]) ** 2

    trace = signal = 0.0
    with undisturbed(task.model):
        task.model.train()
        for at in range(0, large * repeats, large):
            parts = torch.tensor([[squared(at + part * small, small)] for part in range(len(sizes))])
            found = gradient_noise.estimate(parts, sizes, torch.tensor([squared(at, large)]), large)
            trace, signal = trace + float(found.trace), signal + float(found.signal)
    return trace / max(signal, 1e-30)
