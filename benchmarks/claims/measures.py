"""Numbers of a trained net, each by its definition, from its checkpoint: apart from the probes that stream the like.

Nets here are small, so nothing is estimated that can be computed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.claims.results import Run
from gyrostat.probes.undisturbed import undisturbed
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


def gradients(task: Task, batch: Batch, *, create_graph: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Training loss of the batch and its gradient, dropout off, batch statistics of the batch."""
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    loss = task.loss(task.model, batch)[0]
    return loss, list(torch.autograd.grad(loss, parameters, create_graph=create_graph))


@contextmanager
def moved(task: Task, direction: Sequence[Tensor], length: float) -> Iterator[None]:
    """The parameters moved by length·direction, and put back to the bit."""
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    kept = [p.detach().clone() for p in parameters]
    try:
        with torch.no_grad():
            torch._foreach_add_(parameters, list(direction), alpha=length)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)


def norm(vectors: Sequence[Tensor]) -> float:
    """‖v‖₂ over all tensors together."""
    return float(torch.nn.utils.get_total_norm(list(vectors)))


def loss_range_along_gradient(task: Task, rates: Sequence[float], *, samples: int = SAMPLES) -> float:
    """Largest less smallest training loss over steps θ − η∇L (Santurkar et al. 2018, 1805.11604, fig. 4a)."""
    batch = task.batches.fixed(samples)
    with undisturbed(task.model):
        task.model.train()
        _, gradient = gradients(task, batch)
        losses = []
        for rate in rates:
            with moved(task, gradient, -rate), torch.no_grad():
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
            with moved(task, here, -rate):
                _, there = gradients(task, batch)
            changes.append(norm([a - b for a, b in zip(there, here, strict=True)]) / norm(here))
    return max(changes)


def ascent_sharpness(task: Task, rho: float, *, samples: int = 1024) -> float:
    """L(θ + ρ∇L/‖∇L‖) − L(θ) (Foret et al. 2020, 2010.01412, eq. 2)."""
    batch = task.batches.fixed(samples)
    with undisturbed(task.model):
        task.model.train()
        loss, gradient = gradients(task, batch)
        with moved(task, gradient, rho / max(norm(gradient), 1e-12)), torch.no_grad():
            return float(task.loss(task.model, batch)[0] - loss.detach())


def hessian_trace(task: Task, *, draws: int = 40, samples: int = 1024) -> float:
    """Trace of the training loss's Hessian by Hutchinson's estimator with Rademacher vectors from a fixed seed."""
    source = torch.Generator().manual_seed(0)
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    with undisturbed(task.model):
        task.model.train()
        _, gradient = gradients(task, task.batches.fixed(samples), create_graph=True)
        total = 0.0
        for _ in range(draws):
            signs = [torch.randint(0, 2, p.shape, generator=source, dtype=p.dtype) * 2 - 1 for p in parameters]
            products = torch.autograd.grad(gradient, parameters, signs, retain_graph=True)
            total += sum(float((s * h).sum()) for s, h in zip(signs, products, strict=True))
    return total / draws


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
    """exp(entropy) of the normalized singular values of centred features (N, F) (Roy and Vetterli 2007)."""
    values = torch.linalg.svdvals((features - features.mean(0)).double())
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def frequency_centroid(maps: Tensor) -> float:
    """Power-weighted mean spatial frequency of feature maps (N, C, H, W), in cycles of the *input's* side.

    The mean over each map is taken away first; a map's own frequencies reach half its side.
    """
    power = torch.fft.fft2(maps.double() - maps.double().mean((-2, -1), keepdim=True)).abs().square().mean((0, 1))
    height, width = maps.shape[-2:]
    down = torch.fft.fftfreq(height).mul(height).unsqueeze(1)
    across = torch.fft.fftfreq(width).mul(width).unsqueeze(0)
    frequency = (down.square() + across.square()).sqrt().double()
    return float((power * frequency).sum() / power.sum())


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of features (N, F) and (N, G) (Kornblith et al. 2019, 1905.00414, eq. 3)."""
    a, b = ((each.flatten(1) - each.flatten(1).mean(0)).double() for each in (first, second))
    return float((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm()))


def ridge_probe_accuracy(
    train: Tensor, train_labels: Tensor, held_out: Tensor, labels: Tensor, *, ridge: float = 1e-2
) -> float:
    """Accuracy of a ridge regression to one-hot labels on standardized features, in float64."""
    mean, deviation = train.mean(0), train.std(0).clamp_min(1e-6)
    design, test = (
        torch.nn.functional.pad(((x - mean) / deviation).double(), (0, 1), value=1.0) for x in (train, held_out)
    )
    one_hot = torch.nn.functional.one_hot(train_labels).double()
    gram = design.T @ design + ridge * len(design) * torch.eye(design.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, design.T @ one_hot)
    return float(((test @ weights).argmax(1) == labels).double().mean())


def normalized_margins(task: Task, *, samples: int = 1024) -> Tensor:
    """(z_y − max of the others)/Π‖W_l‖₂ of training samples, sorted (Bartlett et al. 2017, 1706.08498, section 2)."""
    inputs, labels = task.batches.fixed(samples)
    task.model.eval()
    with torch.no_grad():
        logits = task.model(inputs).double()
        right = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
        product = torch.tensor(1.0, dtype=torch.float64)
        for parameter in task.model.parameters():
            if parameter.ndim >= 2:
                product = product * torch.linalg.matrix_norm(parameter.flatten(1).double(), ord=2)
    return ((right - others) / product).sort().values


def gradient_noise_scale(task: Task, *, small: int, large: int, pairs: int = 20) -> float:
    """tr(Σ)/‖G‖² from gradients of batches of two sizes (McCandlish et al. 2018, 1812.06162, eq. A.2 and A.3)."""
    squares: dict[int, float] = {small: 0.0, large: 0.0}
    inputs, labels = task.batches.fixed(large * pairs)
    with undisturbed(task.model):
        task.model.train()
        for size in squares:
            for index in range(pairs):
                part = slice(index * size, (index + 1) * size)
                _, gradient = gradients(task, (inputs[part], labels[part]))
                squares[size] += norm(gradient) ** 2 / pairs
    signal = (large * squares[large] - small * squares[small]) / (large - small)
    noise = (squares[small] - squares[large]) / (1 / small - 1 / large)
    return noise / max(signal, 1e-30)
