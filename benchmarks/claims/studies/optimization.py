"""Optimizers, schedules and losses (brief sections 9 to 11)."""

from collections.abc import Sequence

from benchmarks.claims import measures
from benchmarks.claims.bases import Document, changed, digits_mlp, watching
from benchmarks.claims.results import Run
from benchmarks.claims.studies.structure import TEXT
from benchmarks.claims.study import Measure, Statement, Study, last, study
from trainer.tasks import Task

FULL_BATCH: Document = changed(
    digits_mlp(),
    model={"kind": "mlp", "depth": 2, "width": 32, "activation": "tanh"},
    init="xavier_normal",
    data={"limit": 256, "batch_size": 200, "validation_fraction": 0.2},
    probes=watching("curvature", every=10),
    steps=400,
)


def settled_ratio(runs: Sequence[Run]) -> float:
    """Median of sharpness over the optimizer's own limit in the last quarter of the run."""
    (run,) = runs
    ratio = run.scalars("curvature.sharpness_over_limit").dropna()
    return float(ratio.iloc[-max(1, len(ratio) // 4) :].median())


def sharp_alert(runs: Sequence[Run]) -> float:
    """1 where the curvature alert was raised, else 0."""
    (run,) = runs
    return float(any(alert["kind"] == "sharpness" for alert in run.alerts()))


EDGE = changed(FULL_BATCH, task={"kind": "regression", "dataset": "diabetes"}, steps=600)


@study
def sharpness_rises_to_the_optimizer_s_own_limit() -> Study:
    """Edge of stability."""
    return Study(
        section="9",
        shows=("optimizer.sgd", "optimizer.adam"),
        claim="Full-batch training rises to the optimizer's own stability limit and stays near it",
        setting="Two tanh layers of 32 on 200 samples of diabetes, squared error, full batch, 600 steps; gradient "
        "descent at 0.2 (limit 2/η), heavy ball at 0.1 with β 0.9 (3.8/η), Adam at 0.01 on the preconditioned Hessian "
        "(38/η). With cross-entropy on digits, tried first, sharpness fell with the loss, below 0.1 of the limit.",
        arms={
            "gradient descent": changed(EDGE, optimizer={"kind": "sgd", "learning_rate": 0.2, "momentum": 0.0}),
            "heavy ball": changed(EDGE, optimizer={"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}),
            "adam": changed(EDGE, optimizer={"kind": "adam", "learning_rate": 0.01}),
        },
        statements=tuple(
            Statement(
                text=f"{arm}: sharpness over its limit settles {'above 0.5' if low else 'below 2'}",
                on=arm,
                effect="value",
                log=True,
                measure=settled_ratio,
                quantity="sharpness / limit, median of the last quarter",
                at_least=0.5 if low else None,
                at_most=None if low else 2.0,
            )
            for arm in ("gradient descent", "heavy ball", "adam")
            for low in (True, False)
        ),
    )


@study
def the_curvature_alert_knows_the_limit() -> Study:
    """A rate above the limit is told, one below is not."""
    quick = changed(FULL_BATCH, steps=120)
    return Study(
        section="9",
        shows=("optimizer.sgd",),
        claim="The curvature alert is raised where the rate is above the optimizer's limit, and not where it is below",
        setting="The same net and full batch, gradient descent, 120 steps: rate 3, far above what its sharpness "
        "allows, and "
        "rate 0.01, far below.",
        arms={
            "above": changed(quick, optimizer={"kind": "sgd", "learning_rate": 3.0, "momentum": 0.0}),
            "below": changed(quick, optimizer={"kind": "sgd", "learning_rate": 0.01, "momentum": 0.0}),
        },
        statements=(
            Statement(
                text="above: raised in every run",
                on="above",
                effect="value",
                measure=sharp_alert,
                quantity="1: the alert was raised",
                at_least=1,
            ),
            Statement(
                text="below: raised in none",
                on="below",
                effect="value",
                measure=sharp_alert,
                quantity="1: the alert was raised",
                at_most=0,
            ),
        ),
    )


def best_loss(runs: Sequence[Run]) -> float:
    """The smallest validation loss of the sweep's ends."""
    return min(run.last("loss.validation") for run in runs)


OPTIMIZERS: dict[str, Document] = {
    "rmsprop": {"kind": "rmsprop", "learning_rate": 0.002},
    "adam": {"kind": "adam", "learning_rate": 0.003},
    "adamw": {"kind": "adamw", "learning_rate": 0.003},
    "lion": {"kind": "lion", "learning_rate": 0.0005},
    "muon": {"kind": "muon", "learning_rate": 0.005},
    "schedule_free": {"kind": "schedule_free", "learning_rate": 0.005},
}
UNEVEN = changed(TEXT, steps=150)


@study
def optimizers_that_adapt_train_transformers() -> Study:
    """Against SGD with momentum."""
    rates = (0.03, 0.1, 0.3)
    sgd = [changed(UNEVEN, optimizer={"kind": "sgd", "learning_rate": rate, "momentum": 0.9}) for rate in rates]
    return Study(
        section="9",
        shows=tuple(f"optimizer.{name}" for name in OPTIMIZERS),
        claim="On a transformer optimizers that adapt each weight's step beat SGD with momentum",
        setting="Decoder of 2 blocks of width 32 over bytes, 150 steps at a constant rate; SGD with momentum at the "
        "best of "
        "0.03, 0.1 and 0.3 for each seed, the others at one usual rate each.",
        arms={**{name: changed(UNEVEN, optimizer=settings) for name, settings in OPTIMIZERS.items()}, "sgd": sgd},
        statements=tuple(
            Statement(
                text=f"validation loss with {name} over that with SGD is below 1",
                on=name,
                off="sgd",
                measure=best_loss,
                quantity="validation loss after 150 steps",
                at_most=1,
            )
            for name in OPTIMIZERS
        ),
    )


EVERY = 10
"""Steps between the checkpoints among which one of the same loss is looked for."""

SAME_LOSS = 0.02
"""Training loss, in nats, at which minima are compared: far below any at which classes are still being learnt."""


def fitted(runs: Sequence[Run]) -> Task:
    """The task at the first kept checkpoint whose plain loss on 1024 training samples is at most `SAME_LOSS`.

    Raises:
        RuntimeError: there is none, and nothing to compare at.
    """
    (run,) = runs
    for step in range(EVERY, run.spec.steps + 1, EVERY):
        task = run.task(step)
        if measures.evaluated(task, task.batches.fixed(1024))["loss"] <= SAME_LOSS:
            return task
    raise RuntimeError(f"run {run.id} does not reach a training loss of {SAME_LOSS}")


@study
def sharpness_aware_minimization_finds_flatter_minima() -> Study:
    """SAM against its base, at one training loss."""
    descent = {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9}
    base = changed(digits_mlp(), optimizer=descent, checkpoints={"every": EVERY, "keep": 100}, steps=600)
    # not by a merge patch: the base's settings are no settings of SAM
    sam = {**base, "optimizer": {"kind": "sam", "rho": 0.1, "base": descent}}
    flatness: dict[str, Measure] = {
        "L(θ + ρ·g/‖g‖) − L(θ), ρ 0.1": lambda runs: measures.ascent_sharpness(fitted(runs), 0.1),
        "tr H": lambda runs: max(measures.hessian_trace(fitted(runs)), 1e-9),
    }
    names = ("loss rise at ρ = 0.1", "trace of the Hessian")
    return Study(
        section="9, 18",
        shows=("optimizer.sam",),
        claim="SAM ends in flatter minima than its base optimizer",
        setting="MLP 3 x 64 on digits, SGD with momentum at 0.05 alone and inside SAM with ρ 0.1, 600 steps; loss rise "
        "at distance 0.1 along the gradient, and trace of the Hessian (Hutch++, 40 draws), on 1024 training samples, "
        f"each at the first checkpoint (one every {EVERY} steps) whose loss on them is at most {SAME_LOSS:g}. Tried "
        "first: both after 300 steps. SAM's loss is then the larger one, and with cross-entropy curvature falls with "
        "the loss: its trace was 2.2 times SGD's, the loss rise 4.5 times.",
        arms={"sam": sam, "sgd": base},
        statements=tuple(
            Statement(
                text=f"{name} with SAM over that with SGD, at the same training loss, is below 1",
                on="sam",
                off="sgd",
                measure=measure,
                quantity=quantity,
                at_most=1,
            )
            for name, (quantity, measure) in zip(names, flatness.items(), strict=True)
        ),
        seeds=6,
    )


HOT = changed(
    TEXT,
    model={"depth": 4, "connection": {"kind": "residual", "placement": "post"}},
    optimizer={"kind": "adamw", "learning_rate": 0.006},
    schedule="constant",
    steps=300,
)
WARM = {"kind": "linear_warmup", "steps": 60}
SCHEDULES: dict[str, Document] = {
    "constant": {"kind": "constant", "warmup": WARM},
    "cosine": {"kind": "cosine", "warmup": WARM},
    "warm restarts": {"kind": "cosine_warm_restarts", "period": 70, "warmup": WARM},
    "one cycle": {"kind": "one_cycle"},
    "warmup-stable-decay": {"kind": "warmup_stable_decay", "warmup": WARM},
}


@study
def warmup_trains_what_diverges_without() -> Study:
    """A post-norm transformer at a large rate."""
    return Study(
        section="10",
        shows=(
            "schedule.linear_warmup", "schedule.constant", "schedule.cosine", "schedule.cosine_warm_restarts",
            "schedule.one_cycle", "schedule.warmup_stable_decay",
        ),
        claim="A transformer that fails without warmup trains with it, whatever schedule follows",
        setting="Post-norm decoder of 4 blocks of width 32 over bytes, AdamW at 0.006, 300 steps; warmup of 60 steps "
        "(one cycle: its own rise of 30 %) against a constant rate from the first step. Tried first: 4 blocks at 0.01 "
        "and 6 at 0.005, 200 steps, and 8 at 0.002, 250 steps, where nothing trains, with or without warmup: all end "
        "at 3.4 nats. With one seed each, warmup gained 0.14 with 6 blocks at 0.003 and at 0.002 (250 steps), 0.24 and "
        "0.33 at 0.003 with other lengths, and 0.52 with 4 blocks at 0.004.",
        arms={**{name: changed(HOT, schedule=settings) for name, settings in SCHEDULES.items()}, "no warmup": HOT},
        statements=tuple(
            Statement(
                text=f"{name}: validation loss less that without warmup is below −0.2 nats",
                on=name,
                off="no warmup",
                effect="difference",
                measure=last("loss.validation"),
                quantity="validation loss, nats a byte",
                at_most=-0.2,
            )
            for name in SCHEDULES
        ),
    )  # fmt: skip


RARE: Document = changed(
    digits_mlp(),
    task={"kind": "classification", "dataset": {"kind": "imbalanced", "rare_fraction": 0.03, "rows": 3000}},
    model={"depth": 2, "width": 32},
    optimizer={"learning_rate": 0.02},
    steps=250,
)
REBALANCED: dict[str, Document] = {
    "focal": {"kind": "focal", "gamma": 2.0},
    "focal, weighted": {"kind": "focal", "gamma": 2.0, "class_weights": "balanced"},
    "cross-entropy, weighted": {"kind": "cross_entropy", "class_weights": "balanced"},
}


@study
def focal_loss_lifts_minority_recall() -> Study:
    """Imbalanced classes."""
    return Study(
        section="11",
        shows=("loss.focal", "loss.cross_entropy"),
        claim="Focal loss, and class weights, lift the recall of the rare class",
        setting="Two overlapping classes in 20 dimensions, 3 % rare, MLP 2 x 32, 250 steps.",
        arms={**{name: changed(RARE, loss=loss) for name, loss in REBALANCED.items()}, "cross-entropy": RARE},
        statements=tuple(
            Statement(
                text=f"recall of the rare class with {name} less that with plain cross-entropy is above 0",
                on=name,
                off="cross-entropy",
                effect="difference",
                measure=last("accuracy.worst_class_recall"),
                quantity="recall of the rare class, held out",
                at_least=0,
            )
            for name in REBALANCED
        ),
        seeds=4,
    )


@study
def gradient_noise_helps_badly_started_nets() -> Study:
    """Neelakantan et al. 2015."""
    stuck = changed(
        digits_mlp(),
        model={"kind": "mlp", "depth": 12, "width": 32},
        init={"kind": "he_normal", "gain": 0.4},
        optimizer={"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        steps=500,
    )
    return Study(
        section="13",
        shows=("noise.gradient",),
        claim="Noise added to gradients gets a badly initialized deep net off its plateau",
        setting="12 plain ReLU layers of 32 on digits, started at 0.4 of the right scale, SGD with momentum at 0.1, "
        "500 steps; η 0.001, γ 0.55. The window is narrow: with η 0.0003 nothing moves, with 0.003, 0.01 and 0.1 (this "
        "one tried first, 300 steps) the noise takes the weights, and accuracy stays that of guessing.",
        arms={"noise": changed(stuck, noise={"gradient": {"kind": "gradient", "eta": 0.001}}), "none": stuck},
        statements=(
            Statement(
                text="validation accuracy with noise less that without is above 0",
                on="noise",
                off="none",
                effect="difference",
                measure=last("accuracy.validation"),
                quantity="validation accuracy",
                at_least=0,
            ),
        ),
        seeds=6,
    )
