"""Implicit regularization, smooth landscapes, scale separation (brief sections 18 to 20), and the kernel regime (8)."""

from collections.abc import Sequence
from itertools import pairwise

import torch

from benchmarks.claims import measures
from benchmarks.claims.bases import Document, changed, digits_cnn, digits_mlp, watching
from benchmarks.claims.results import Run
from benchmarks.claims.study import Measure, Statement, Study, study
from gyrostat.probes.frequency import spectral_centroid
from gyrostat.probes.linear_probe import probe_accuracy

BATCHES: Document = changed(
    digits_mlp(),
    optimizer={"kind": "sgd", "learning_rate": 0.05, "momentum": 0.0},
    probes=watching("curvature", every=100),
)


@study
def small_batches_end_in_flatter_minima() -> Study:
    """Flatness after small- and large-batch training."""
    quantities: dict[str, tuple[str, Measure]] = {
        "λ_max": ("largest Hessian eigenvalue", lambda runs: max(runs[0].last("curvature.sharpness"), 1e-9)),
        "trace": ("tr H", lambda runs: max(measures.hessian_trace(runs[0].task()), 1e-9)),
        "SAM sharpness": ("L(θ + ρ·g/‖g‖) − L(θ), ρ 0.1", lambda runs: measures.ascent_sharpness(runs[0].task(), 0.1)),
    }
    return Study(
        section="18",
        shows=("optimizer.sgd",),
        claim="Small-batch SGD ends in flatter minima than large-batch SGD at the same rate",
        setting="MLP 3 x 64 on digits, plain SGD at 0.05, 600 steps at batch 8 and at batch 512. Both see their own "
        "number of samples: equal steps, not equal epochs. λ_max on each arm's own probe batch; trace (Hutch++) and "
        "SAM sharpness on 1024 samples. Three seeds, tried first, did not decide.",
        arms={
            "batch 8": changed(BATCHES, data={"batch_size": 8}, steps=600),
            "batch 512": changed(BATCHES, data={"batch_size": 512}, steps=600),
        },
        statements=tuple(
            Statement(
                text=f"{name} at batch 8 over that at batch 512 is below 1",
                on="batch 8",
                off="batch 512",
                measure=measure,
                quantity=quantity,
                at_most=1,
            )
            for name, (quantity, measure) in quantities.items()
        ),
        seeds=6,
    )


def margin_growth(runs: Sequence[Run]) -> float:
    """Median normalized margin at the end over that at a quarter of the run."""
    (run,) = runs
    early, late = (measures.normalized_margins(run.task(step)).median() for step in (100, 400))
    return float(late / early) if early > 0 else float("inf")


@study
def margins_grow_after_the_data_is_fitted() -> Study:
    """Normalized margins over time."""
    document = changed(
        digits_mlp(), checkpoints={"every": 100, "keep": 10}, optimizer={"learning_rate": 0.05}, steps=400
    )
    return Study(
        section="18",
        shows=("optimizer.sgd",),
        claim="SGD goes on widening the normalized margin after the data is fitted",
        setting="MLP 3 x 64 on digits, SGD with momentum at 0.05; median margin of 1024 training samples over the "
        "product of "
        "the layers' spectral norms, at step 400 over that at step 100.",
        arms={"sgd": document},
        statements=(
            Statement(
                text="the median margin at step 400 is more than that at step 100",
                on="sgd",
                effect="value",
                log=True,
                measure=margin_growth,
                quantity="median normalized margin, step 400 / step 100",
                at_least=1,
            ),
        ),
    )


DEEP: Document = changed(
    digits_mlp(),
    probes=watching("curvature", every=20),
    checkpoints={"every": 20, "keep": 10},
    optimizer={"learning_rate": 0.005},
    steps=60,
)
STEPS_ALONG = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def deep(**model: object) -> Document:
    """Twelve layers."""
    return changed(DEEP, model={"kind": "mlp", "depth": 12, "width": 64, **model})


def roughness(runs: Sequence[Run]) -> float:
    """Largest relative change of the gradient along itself at step 20."""
    (run,) = runs
    return measures.gradient_range_along_gradient(run.task(20), STEPS_ALONG)


@study
def norms_and_residuals_flatten_the_landscape() -> Study:
    """λ_max and gradient change, with and without."""
    changes = {
        "norm": deep(norm="batch"),
        "residual": deep(connection={"kind": "residual", "placement": "pre"}, norm=None),
        "both": deep(norm="batch", connection={"kind": "residual", "placement": "pre"}),
    }
    return Study(
        section="19",
        shows=("norm.batch", "connection.residual"),
        claim="Normalization and residual connections flatten the landscape",
        setting="12-layer MLP of width 64 on digits, SGD with momentum at 0.005, which all arms train at; sharpness "
        "on the training batch at step 60, and change of the gradient along itself at step 20.",
        arms={**changes, "plain": deep()},
        statements=tuple(
            Statement(
                text=f"{quantity} with {name} over that of the plain net is below 1",
                on=name,
                off="plain",
                measure=measure,
                quantity=quantity,
                at_most=1,
            )
            for name in changes
            for quantity, measure in (
                ("sharpness", lambda runs: max(runs[0].last("curvature.sharpness"), 1e-9)),
                ("gradient change", roughness),
            )
        ),
    )


HIERARCHY = changed(digits_cnn(), model={"depth": 8, "width": 16, "stages": 1, "norm": "batch"}, steps=200)


def features(run: Run, *, trained: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Activations of each layer for 512 training and for the held-out images."""
    task = run.task(None if trained else 0)
    held_out = tuple(torch.cat(parts) for parts in zip(*task.held_out(), strict=True))

    def chosen(name: str, module: torch.nn.Module) -> bool:
        return name.endswith(".activation")

    return (
        measures.outputs_of(task, task.batches.fixed(512)[:-1], chosen),
        measures.outputs_of(task, held_out[:-1], chosen),
    )


def depth_change(quantity: str) -> Measure:
    """The quantity at the last layer over, or less, that at the first."""

    def measure(runs: Sequence[Run]) -> float:
        (run,) = runs
        train, held_out = features(run)
        first, last = (list(train.values())[index] for index in (0, -1))
        if quantity == "frequency":
            return float(spectral_centroid(last.double(), (2, 3)) / spectral_centroid(first.double(), (2, 3)))
        task = run.task()
        labels, held_labels = task.batches.fixed(512)[-1], torch.cat([batch[-1] for batch in task.held_out()])
        accuracy = [
            float(
                probe_accuracy(
                    list(train.values())[index].mean((-2, -1)),
                    labels,
                    list(held_out.values())[index].mean((-2, -1)),
                    held_labels,
                    classes=10,
                )
            )
            for index in (0, -1)
        ]
        return accuracy[1] - accuracy[0]

    return measure


def neighbours_alike(runs: Sequence[Run]) -> float:
    """Mean CKA of neighbouring layers less CKA of the first and the last."""
    (run,) = runs
    train, _ = features(run)
    layers = [each.mean((-2, -1)) for each in train.values()]
    near = [measures.cka(a, b) for a, b in pairwise(layers)]
    return sum(near) / len(near) - measures.cka(layers[0], layers[-1])


def rank_change(runs: Sequence[Run]) -> float:
    """Effective rank of the last layer's features over that before training."""
    (run,) = runs
    after, before = (
        measures.effective_rank(list(features(run, trained=trained)[0].values())[-1].mean((-2, -1)))
        for trained in (True, False)
    )
    return after / before


@study
def depth_separates_scales() -> Study:
    """Frequency, probes, CKA and rank over depth."""
    return Study(
        section="20",
        shows=("arch.cnn",),
        claim="Over depth features become smoother in space, easier to read linearly, and gradually different",
        setting="8-layer CNN of one stage (16 channels, 8 x 8 maps throughout) with batch norm on digits, 200 steps; "
        "features of 512 training images after each activation, averaged over space but for the frequencies. Formulas "
        "are those of the metrics representation.frequency_centroid, probe_accuracy (ridge), cka_previous (unbiased) "
        "and, of centred features, activation.effective_rank. Three seeds, tried first, did not decide.",
        arms={"cnn": HIERARCHY},
        statements=(
            Statement(
                text="spatial-frequency centroid of the last layer over that of the first is below 1",
                on="cnn",
                effect="value",
                log=True,
                measure=depth_change("frequency"),
                quantity="frequency centroid, last / first layer",
                at_most=1,
            ),
            Statement(
                text="linear-probe accuracy of the last layer less that of the first is above 0",
                on="cnn",
                effect="value",
                measure=depth_change("probe"),
                quantity="linear-probe accuracy, last − first layer",
                at_least=0,
            ),
            Statement(
                text="neighbouring layers are more alike (CKA) than first and last",
                on="cnn",
                effect="value",
                measure=neighbours_alike,
                quantity="mean CKA of neighbours − CKA of first and last",
                at_least=0,
            ),
            Statement(
                text="training raises the effective rank of the last layer's features",
                on="cnn",
                effect="value",
                log=True,
                measure=rank_change,
                quantity="effective rank, trained / at start",
                at_least=1,
            ),
        ),
        seeds=6,
    )
