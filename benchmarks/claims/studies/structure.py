"""Attention, multi-scale nets and width (brief sections 6 to 8)."""

from collections.abc import Sequence

import torch

from benchmarks.claims.bases import Document, changed, digits_mlp, watching
from benchmarks.claims.results import Run
from benchmarks.claims.study import Statement, Study, last, study
from gyrostat.probes.kernel import kernel_drift

AT_THE_END: Document = {
    "validation": {"every": 1_000_000, "max_batches": 10},
    "checkpoints": {"every": 1_000_000, "best": False},
    "probes": watching(),
    "threads": 1,
}


TEXT: Document = {
    "task": {"kind": "language_model", "dataset": "python_topics"},
    "model": {"kind": "transformer", "depth": 2, "width": 32, "attention": {"kind": "multi_head", "heads": 4}},
    "init": {"kind": "xavier_uniform", "gain": 1.0},
    "data": {"batch_size": 8, "sequence_length": 32},
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "steps": 150,
    **AT_THE_END,
}
LOUD = changed(
    TEXT,
    optimizer={"learning_rate": 0.05, "weight_decay": 0.0},
    probes=watching("attention", every=5),
    schedule={"kind": "constant", "warmup": {"kind": "linear_warmup", "steps": 10}},
)


def attention(**more: object) -> Document:
    """The loud net with this attention."""
    return changed(LOUD, model={"attention": {"kind": "multi_head", "heads": 4, **more}})


def largest_logit(runs: Sequence[Run]) -> float:
    """Over heads and steps."""
    (run,) = runs
    value = float(run.series("attention.max_logit").abs().max().max())
    return value if value == value else float("inf")


@study
def normalized_or_capped_logits_stay_bounded() -> Study:
    """Largest attention logit at a large rate."""
    return Study(
        section="6",
        shows=("attention.qk_norm", "attention.logit_soft_cap", "attention.multi_head", "arch.transformer"),
        claim="At a learning rate at which attention logits grow, query-key norm and a soft cap keep them bounded",
        setting="Decoder of 2 blocks of width 32 with 4 heads over bytes of Python's documentation, AdamW at 0.05 (ten "
        "times a usual rate), 150 steps; the largest logit of any head at any probed step. Cap 10.",
        arms={
            "qk_norm": attention(qk_norm={"kind": "qk_norm"}),
            "soft cap": attention(logit_soft_cap={"kind": "logit_soft_cap", "cap": 10.0}),
            "neither": attention(),
        },
        statements=(
            Statement(
                text="largest logit with qk_norm over that with neither is at most 0.5",
                on="qk_norm",
                off="neither",
                measure=largest_logit,
                quantity="largest attention logit",
                at_most=0.5,
            ),
            Statement(
                text="largest logit with a soft cap of 10 is at most 10, but for float32's rounding",
                on="soft cap",
                effect="value",
                log=True,
                measure=largest_logit,
                quantity="largest attention logit",
                at_most=10 * (1 + 1e-5),
            ),
            Statement(
                text="with neither it exceeds 20",
                on="neither",
                effect="value",
                log=True,
                measure=largest_logit,
                quantity="largest attention logit",
                at_least=20,
            ),
        ),
    )


TRANSDUCTION: Document = {
    "task": {"kind": "sequence_to_sequence", "dataset": {"kind": "transduction", "alphabet": 8, "length": 6}},
    "model": {"kind": "transformer", "layout": "encoder_decoder", "depth": 1, "width": 32, "cross": {"kind": "cross"}},
    "init": {"kind": "xavier_uniform", "gain": 1.0},
    "data": {"batch_size": 32},
    "optimizer": {"kind": "adamw", "learning_rate": 0.005},
    "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 30}},
    "steps": 400,
    **AT_THE_END,
}


@study
def cross_attention_conditions() -> Study:
    """Reversing a sequence with and without reading it."""
    without = changed(TRANSDUCTION, model={"cross": None})
    return Study(
        section="6",
        shows=("attention.cross", "attention.self"),
        claim="A conditional task is solved with cross-attention and not without",
        setting="Reverse 6 letters out of 8: encoder and decoder of one block of width 32, 400 steps. Without "
        "cross-attention the decoder sees only the target's beginning. `self` is tried as the single-head variant.",
        arms={
            "cross": TRANSDUCTION,
            "cross, one head": changed(
                TRANSDUCTION, model={"attention": {"kind": "self"}, "cross": {"kind": "cross", "heads": 1}}
            ),
            "without": without,
        },
        statements=(
            *(
                Statement(
                    text=f"{arm}: at least 90 % of the held-out tokens are right",
                    on=arm,
                    effect="value",
                    measure=last("accuracy.validation"),
                    quantity="share of tokens right, held out",
                    at_least=0.9,
                )
                for arm in ("cross", "cross, one head")
            ),
            Statement(
                text="without: at most 50 %",
                on="without",
                effect="value",
                measure=last("accuracy.validation"),
                quantity="share of tokens right, held out",
                at_most=0.5,
            ),
        ),
    )


SHAPES: Document = {
    "task": {"kind": "segmentation", "dataset": {"kind": "shapes", "size": 24, "rows": 400}},
    "model": {"kind": "unet", "width": 8, "stages": 3, "depth": 3, "norm": {"kind": "group", "groups": 4}},
    "init": "he_normal",
    "data": {"batch_size": 16},
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 10}},
    "steps": 120,
    **AT_THE_END,
}


CROWDED = changed(SHAPES, task={"dataset": {"kind": "shapes", "size": 24, "rows": 400, "objects": 5}}, steps=200)


@study
def skips_of_a_unet_keep_the_detail() -> Study:
    """Segmentation with and without the skips."""
    return Study(
        section="7",
        shows=("arch.unet",),
        claim="A U-Net segments better with its skips than without",
        setting="Up to five discs, rectangles and triangles on noise, 24 x 24, 320 training images; 3 stages from 8 "
        "channels, 200 steps of AdamW at 0.003. Tried first: up to three shapes, 120 steps, three seeds, which left "
        "both arms half trained and did not decide.",
        arms={"skips": CROWDED, "no skips": changed(CROWDED, model={"skips": False})},
        statements=(
            Statement(
                text="mean intersection over union with skips less that without is above 0",
                on="skips",
                off="no skips",
                effect="difference",
                measure=last("mean_iou.validation"),
                quantity="mean IoU, held out",
                at_least=0,
            ),
            Statement(
                text="validation loss with skips over that without is below 1",
                on="skips",
                off="no skips",
                measure=last("loss.validation"),
                quantity="validation loss",
                at_most=1,
            ),
        ),
        seeds=4,
    )


@study
def a_pyramid_finds_objects_of_several_sizes() -> Study:
    """FPN with several levels against one level."""
    fpn = changed(SHAPES, model={"kind": "fpn", "width": 8, "stages": 3, "depth": 3})
    return Study(
        section="7",
        shows=("arch.fpn",),
        claim="A feature pyramid segments objects of several sizes better than the same depth at one scale",
        setting="Up to three such shapes; a pyramid of 3 levels against one level with as many blocks, from 8 "
        "channels, 120 steps. With up to five shapes and 200 steps the difference was −0.01 (two seeds); on images "
        "of 32 x 32, where shapes are larger than what one level sees, 0.05 (one seed).",
        arms={"3 levels": fpn, "1 level": changed(fpn, model={"stages": 1})},
        statements=(
            Statement(
                text="mean intersection over union with 3 levels less that with 1 is above 0",
                on="3 levels",
                off="1 level",
                effect="difference",
                measure=last("mean_iou.validation"),
                quantity="mean IoU, held out",
                at_least=0,
            ),
        ),
    )


def widened(factor: float) -> Document:
    """The small MLP at a multiple of 16 units."""
    return changed(
        digits_mlp(),
        model={"depth": 3, "width": 16, "scaling": {"kind": "multiplier", "factor": factor}},
        optimizer={"kind": "sgd", "learning_rate": 0.02, "momentum": 0.0},
        probes=watching("curvature", every=50),
        data={"batch_size": 256},
        steps=150,
    )


@study
def wider_nets_train_more_smoothly() -> Study:
    """Sharpness and loss at the same step."""
    return Study(
        section="8",
        shows=("width.multiplier",),
        claim="Wider nets have smaller sharpness and smaller loss at the same step",
        setting="MLP of 3 hidden layers on digits, He's law, plain SGD at 0.02, batch 256, step 150; 16 against 256 "
        "units.",
        arms={"16 times": widened(16.0), "1 times": widened(1.0)},
        statements=(
            Statement(
                text="training loss of the wide over that of the narrow net is below 1",
                on="16 times",
                off="1 times",
                measure=lambda runs: float(runs[0].scalars("loss.train").iloc[-10:].mean()),
                quantity="training loss, mean of the last 10 steps",
                at_most=1,
            ),
            Statement(
                text="sharpness of the wide over that of the narrow net is below 1",
                on="16 times",
                off="1 times",
                measure=last("curvature.sharpness"),
                quantity="largest Hessian eigenvalue at step 150",
                at_most=1,
            ),
        ),
    )


KERNEL_SAMPLES = 64
"""Training samples that kernels are formed on: each takes a backward pass."""


def lazy(factor: float) -> list[Document]:
    """The small MLP of 16·`factor` units with squared error, and its linearization, at a rate of 0.02/`factor`."""
    net = changed(
        digits_mlp(),
        task={"kind": "regression", "dataset": "diabetes"},
        model={"depth": 2, "width": 16, "activation": "tanh", "scaling": {"kind": "multiplier", "factor": factor}},
        init="xavier_normal",
        loss="mse",
        optimizer={"kind": "sgd", "learning_rate": 0.02 / factor, "momentum": 0.9},
        data={"batch_size": 64},
        steps=200,
    )
    return [net, changed(net, linearized="taylor")]


def drift(runs: Sequence[Run]) -> float:
    """‖Θ₁ − Θ₀‖/‖Θ₀‖ of the net's tangent kernel from before to after its training."""
    trained, untrained = runs[0].task(), runs[0].task(0)
    (inputs, *_) = trained.batches.fixed(KERNEL_SAMPLES)
    states = [{name: p.detach() for name, p in task.model.named_parameters()} for task in (untrained, trained)]
    trained.model.eval()
    return float(kernel_drift(trained.model, (inputs,), *states))


def departure(runs: Sequence[Run]) -> float:
    """‖f − f_lin‖ of the trained net and the trained linearization, over how far that one has moved: ‖f_lin − f₀‖."""
    net, linear, start = runs[0].task(), runs[1].task(), runs[0].task(0)
    (inputs, *_) = net.batches.fixed(512)
    outputs = []
    for task in (net, linear, start):
        task.model.eval()
        with torch.no_grad():
            outputs.append(task.model(inputs).double())
    return float((outputs[0] - outputs[1]).norm() / (outputs[1] - outputs[2]).norm())


@study
def wide_nets_stay_near_their_linearization() -> Study:
    """Tangent kernel and outputs, narrow against wide."""
    return Study(
        section="8",
        shows=("linearized.taylor", "width.multiplier", "loss.mse"),
        claim="The tangent kernel drifts less, and the net stays nearer to its linearization, the wider it is",
        setting="tanh MLP of 2 hidden layers on diabetes, squared error, 200 steps of SGD with momentum; 16 against "
        "256 units. The rate falls as 1/width, as the limit of infinite width asks (Lee et al. 2019): at one rate for "
        "both, the wide net would move its function 16 times as far. At 0.1/width, tried first, the narrow net's "
        "linearization diverges.",
        arms={"16 times": lazy(16.0), "1 times": lazy(1.0)},
        statements=(
            Statement(
                text="kernel drift of the wide over that of the narrow net is below 1",
                on="16 times",
                off="1 times",
                measure=drift,
                quantity="relative change of the tangent kernel over the training",
                at_most=1,
            ),
            Statement(
                text="distance of net and linearization, wide over narrow, is below 1",
                on="16 times",
                off="1 times",
                measure=departure,
                quantity="‖f − f_lin‖ / ‖f_lin − f₀‖ after the training",
                at_most=1,
            ),
        ),
    )
