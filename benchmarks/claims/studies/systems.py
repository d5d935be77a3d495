"""Precision, accumulation and ranks (brief sections 15 to 17)."""

from collections.abc import Sequence

from benchmarks.claims import measures
from benchmarks.claims.bases import changed, digits_mlp
from benchmarks.claims.results import Run
from benchmarks.claims.study import Statement, Study, last, study

SHORT = changed(digits_mlp(), steps=120)


def scale_is_streamed(runs: Sequence[Run]) -> float:
    """1 where the loss scale and the overflows of every step are there, else 0."""
    (run,) = runs
    if not {"precision.loss_scale", "precision.overflow"} <= run.metrics:
        return 0.0
    return float(len(run.scalars("precision.loss_scale")) == run.spec.steps)


def overflows(runs: Sequence[Run]) -> float:
    """Steps that were skipped."""
    (run,) = runs
    return float(run.scalars("precision.overflow").sum())


@study
def half_precision_trains_and_tells_its_scale() -> Study:
    """fp16 and bf16 against fp32."""
    fp16 = changed(SHORT, precision={"kind": "fp16", "initial_scale": 2.0**24, "growth_interval": 40})
    return Study(
        section="15",
        shows=("precision.fp16", "precision.bf16", "precision.fp32"),
        claim="Half precision reaches the accuracy of full precision; loss scale and overflows are streamed",
        setting="MLP 3 x 64 on digits, 120 steps. fp16 starts at a loss scale of 2²⁴, far too large on purpose, so "
        "that "
        "steps overflow before the scale has fallen.",
        arms={"fp16": fp16, "bf16": changed(SHORT, precision="bf16"), "fp32": SHORT},
        statements=(
            *(
                Statement(
                    text=f"validation accuracy in {name} less that in fp32 is at least −0.02",
                    on=name,
                    off="fp32",
                    effect="difference",
                    measure=last("accuracy.validation"),
                    quantity="validation accuracy",
                    at_least=-0.02,
                )
                for name in ("fp16", "bf16")
            ),
            Statement(
                text="fp16: the loss scale is streamed at every step of every run",
                on="fp16",
                effect="value",
                measure=scale_is_streamed,
                quantity="1: streamed at every step",
                at_least=1,
            ),
            Statement(
                text="fp16: at least one step of every run overflows, and is counted",
                on="fp16",
                effect="value",
                measure=overflows,
                quantity="skipped steps",
                at_least=1,
            ),
        ),
    )


@study
def accumulation_is_the_whole_batch() -> Study:
    """Micro-batches against the whole batch, and the noise scale between them."""
    return Study(
        section="16",
        shows=("accumulation.micro_batches",),
        claim="Eight micro-batches give the training of the whole batch, and their gradients its noise scale",
        setting="MLP 3 x 64 on digits, batch 64, 120 steps. Noise scale tr Σ/‖G‖² from gradients of batches of 8 and "
        "64 before the first step (McCandlish et al. 2018); at the end, tried first, ‖G‖² is too near 0 to divide by.",
        arms={"8 x 8": changed(SHORT, accumulation={"kind": "micro_batches", "steps": 8}), "1 x 64": SHORT},
        statements=(
            Statement(
                text="validation loss in micro-batches over that of the whole batch is at most 1.001",
                on="8 x 8",
                off="1 x 64",
                measure=last("loss.validation"),
                quantity="validation loss",
                at_most=1.001,
            ),
            Statement(
                text="the noise scale is positive: gradients of 8 samples are noisier than those of 64",
                on="8 x 8",
                effect="value",
                log=True,
                measure=lambda runs: max(measures.gradient_noise_scale(runs[0].task(0), small=8, large=64), 1e-30),
                quantity="gradient noise scale, samples",
                at_least=1,
            ),
        ),
    )


@study
def two_ranks_train_as_one() -> Study:
    """2 ranks of half the batch, batch normalization synchronized."""
    normed = changed(SHORT, model={"norm": "batch"}, steps=60)
    return Study(
        section="17",
        shows=("distributed.ddp",),
        claim="Two ranks with half the batch each train as one rank does with the whole, batch norm synchronized",
        setting="MLP 3 x 64 with batch normalization on digits, batch 64, 60 steps, two processes over gloo.",
        arms={
            "2 ranks": changed(normed, distributed={"kind": "ddp", "ranks": 2, "digest_every": 10}),
            "1 rank": normed,
        },
        statements=(
            Statement(
                text="validation loss with 2 ranks over that with 1 is at most 1.01",
                on="2 ranks",
                off="1 rank",
                measure=last("loss.validation"),
                quantity="validation loss",
                at_most=1.01,
            ),
            Statement(
                text="largest gap between the ranks' parameter digests is 0",
                on="2 ranks",
                effect="value",
                measure=lambda runs: float(runs[0].series("rank.parameter_digest_gap").max().max()),
                quantity="relative gap of the digests",
                at_most=0,
            ),
        ),
    )
