"""Normalization (brief section 1), and what it does to the landscape (section 19)."""

from collections.abc import Sequence

import torch

from benchmarks.claims import measures
from benchmarks.claims.bases import changed, digits_cnn
from benchmarks.claims.results import Run
from benchmarks.claims.study import Document, Statement, Study, last, study

PLAIN_20 = changed(digits_cnn(), model={"depth": 20, "width": 8, "stages": 2}, data={"batch_size": 64}, steps=120)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
TRAINED = 0.5
"""Validation accuracy from which a net of ten classes counts as trained."""


def largest_stable_rate(runs: Sequence[Run]) -> float:
    """The largest rate of the sweep whose run ends above `TRAINED`; a third of the smallest where none does."""
    stable = [run.spec.optimizer.learning_rate for run in runs if run.last("accuracy.validation") >= TRAINED]
    return max(stable, default=RATES[0] / 3)


def sweep(document: Document) -> list[Document]:
    """The document at every rate."""
    return [changed(document, optimizer={"learning_rate": rate}) for rate in RATES]


@study
def batch_normalization_allows_larger_rates() -> Study:
    """Largest stable rate of a plain 20-layer net."""
    return Study(
        section="1",
        shows=("norm.batch", "arch.cnn"),
        claim="A plain 20-layer CNN trains at a learning rate at least 4 times larger with batch normalization",
        setting="8 to 16 channels, digits, SGD with momentum 0.9, 120 steps at rates of 0.003, 0.01, ... 0.3; a rate "
        f"is stable where validation accuracy ends at {TRAINED:g} or more. Where none is, 0.001 stands for it.",
        arms={
            "batch norm": sweep(changed(PLAIN_20, model={"norm": "batch"})),
            "none": sweep(changed(PLAIN_20, model={"norm": None})),
        },
        statements=(
            Statement(
                text="largest stable rate with batch normalization over that without",
                on="batch norm",
                off="none",
                measure=largest_stable_rate,
                quantity="largest stable learning rate",
                at_least=4,
            ),
        ),
    )


SMOOTH = changed(
    digits_cnn(),
    model={"depth": 8, "width": 8},
    optimizer={"learning_rate": 0.01},
    checkpoints={"every": 20, "keep": 20},
    steps=100,
)
STEPS_ALONG = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def loss_range(runs: Sequence[Run]) -> float:
    """Mean over checkpoints of the range of the loss along the gradient."""
    (run,) = runs
    return sum(measures.loss_range_along_gradient(run.task(step), STEPS_ALONG) for step in (20, 60, 100)) / 3


def gradient_range(runs: Sequence[Run]) -> float:
    """Mean over checkpoints of the relative change of the gradient along itself."""
    (run,) = runs
    return sum(measures.gradient_range_along_gradient(run.task(step), STEPS_ALONG) for step in (20, 60, 100)) / 3


@study
def normalization_smooths_the_landscape() -> Study:
    """Loss and gradient along the gradient direction, with and without."""
    return Study(
        section="1, 19",
        shows=("norm.batch",),
        claim="With batch normalization loss and gradient vary less along the gradient's direction",
        setting="8-layer CNN, digits, SGD at 0.01, which both arms train at; training loss and gradient at θ − η∇L, η "
        "from 0.01 to 0.4 on 256 fixed samples, mean over the checkpoints of steps 20, 60 and 100. "
        "Three seeds, tried first, did not decide.",
        arms={
            "batch norm": changed(SMOOTH, model={"norm": "batch"}),
            "none": changed(SMOOTH, model={"norm": None}),
        },
        statements=(
            Statement(
                text="range of the loss over these steps, with over without",
                on="batch norm",
                off="none",
                measure=loss_range,
                quantity="max − min of the loss along the gradient",
                at_most=1,
            ),
            Statement(
                text="largest relative change of the gradient over these steps, with over without",
                on="batch norm",
                off="none",
                measure=gradient_range,
                quantity="max ‖∇L(θ−η∇L) − ∇L(θ)‖ / ‖∇L(θ)‖",
                at_most=1,
            ),
        ),
        seeds=6,
    )


SMALL = changed(digits_cnn(), model={"depth": 4, "width": 16}, optimizer={"learning_rate": 0.01})


def with_batch(size: int, samples: int, **model: object) -> Document:
    """So many samples seen in batches of `size`, at a rate in proportion to it."""
    rate = 0.05 * size / 64
    return changed(
        SMALL,
        model=model,
        data={"batch_size": size},
        optimizer={"learning_rate": rate, "momentum": 0.9},
        schedule={"kind": "cosine"},
        steps=samples // size,
    )


@study
def layer_normalization_does_not_mind_small_batches() -> Study:
    """Batch 2 against batch 64."""
    return Study(
        section="1",
        shows=("norm.layer",),
        claim="Layer normalization reaches the same accuracy at batch 2 and at batch 64",
        setting="4-layer CNN, digits, SGD with a rate in proportion to the batch, cosine; 3200 samples at either: 50 "
        "steps of 64, 1600 of 2. Tried first: 9600 samples at batch 64 and 3000 at batch 2, which was behind by 0.07.",
        arms={"batch 2": with_batch(2, 3200, norm="layer"), "batch 64": with_batch(64, 3200, norm="layer")},
        statements=(
            Statement(
                text="validation accuracy at batch 2 less that at batch 64 is at least −0.03",
                on="batch 2",
                off="batch 64",
                effect="difference",
                measure=last("accuracy.validation"),
                quantity="validation accuracy",
                at_least=-0.03,
            ),
        ),
        seeds=5,
    )


@study
def group_normalization_beats_batch_normalization_at_batch_2() -> Study:
    """Group against batch normalization where batches are tiny."""
    return Study(
        section="1",
        shows=("norm.group", "norm.batch"),
        claim="At batch 2 group normalization beats batch normalization",
        setting="4-layer CNN of 16 channels, 4 groups, digits, 1500 steps of SGD at 0.0016, cosine. "
        "Three seeds, tried first, did not decide.",
        arms={
            "group": with_batch(2, 3000, norm={"kind": "group", "groups": 4}),
            "batch": with_batch(2, 3000, norm={"kind": "batch"}),
        },
        statements=(
            Statement(
                text="validation accuracy with group less that with batch normalization is above 0",
                on="group",
                off="batch",
                effect="difference",
                measure=last("accuracy.validation"),
                quantity="validation accuracy",
                at_least=0,
            ),
        ),
        seeds=6,
    )


def lost_to_contrast(runs: Sequence[Run]) -> float:
    """Accuracy lost when each held-out image is dimmed to 30 % of its contrast and shifted by half a deviation."""
    (run,) = runs
    task = run.task()
    task.model.eval()
    inputs, labels = (torch.cat(parts) for parts in zip(*task.held_out(), strict=True))
    with torch.no_grad():
        plain = (task.model(inputs).argmax(1) == labels).double().mean()
        shifted = (task.model(0.3 * inputs + 0.5).argmax(1) == labels).double().mean()
    return float(plain - shifted)


@study
def instance_normalization_ignores_contrast() -> Study:
    """Contrast shift at test time."""
    return Study(
        section="1",
        shows=("norm.instance",),
        claim="A change of contrast costs less accuracy with instance normalization than with batch normalization",
        setting="4-layer CNN of one stage, digits, 150 steps; tested on held-out images x and on 0.3·x + 0.5.",
        arms={
            "instance": with_batch(64, 9600, norm="instance", stages=1),
            "batch": with_batch(64, 9600, norm="batch", stages=1),
        },
        statements=(
            Statement(
                text="accuracy lost with instance less that lost with batch normalization is below 0",
                on="instance",
                off="batch",
                effect="difference",
                measure=lost_to_contrast,
                quantity="accuracy lost to the change of contrast",
                at_most=0,
            ),
        ),
    )


SPECTRAL = changed(
    digits_cnn(),
    task={"kind": "classification", "dataset": "digits"},
    model={"kind": "mlp", "depth": 6, "width": 64},
    optimizer={"learning_rate": 0.1},
    steps=200,
)


@study
def spectral_normalization_bounds_the_lipschitz_constant() -> Study:
    """Product of layer norms with spectral normalization."""
    return Study(
        section="1, 12",
        shows=("parametrization.spectral_norm",),
        claim="With spectral normalization the product of the layers' norms, a Lipschitz bound, stays small",
        setting="MLP of 6 hidden layers of 64 on digits, SGD with momentum at 0.1, 200 steps. σ_max of "
        "the weights as they are used, by SVD from the checkpoint. Three seeds, tried first, did not decide.",
        arms={
            "spectral norm": changed(SPECTRAL, parametrization="spectral_norm"),
            "none": changed(SPECTRAL, parametrization=None),
        },
        statements=(
            Statement(
                text="product of the seven σ_max with spectral normalization is at most 1.1",
                on="spectral norm",
                effect="value",
                log=True,
                measure=lambda runs: measures.product_of_norms(runs[0].task().model.eval()),
                quantity="product of σ_max over layers",
                at_most=1.1,
            ),
            Statement(
                text="without it the product is at least 10 times larger",
                on="none",
                off="spectral norm",
                measure=lambda runs: measures.product_of_norms(runs[0].task().model.eval()),
                quantity="product of σ_max over layers",
                at_least=10,
            ),
        ),
        seeds=6,
    )
