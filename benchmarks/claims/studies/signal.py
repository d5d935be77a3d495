"""Signal and gradient over depth: skip connections, initialization, activations (brief sections 2 and 3)."""

from collections.abc import Sequence

import numpy as np

from benchmarks.claims.bases import Document, changed, digits_mlp, watching
from benchmarks.claims.results import Run
from benchmarks.claims.study import Statement, Study, last, study

FIRST_STEP = changed(digits_mlp(), probes=watching("activations", "gradients", every=1), steps=1)
DEEP = changed(FIRST_STEP, model={"depth": 30, "width": 64})


def rms_spread(runs: Sequence[Run]) -> float:
    """Largest over smallest activation rms of the hidden layers at the first step."""
    (run,) = runs
    frame = run.series("activation.rms")
    hidden = frame[[name for name in frame.columns if name.endswith(".activation")]].iloc[0].to_numpy(float)
    return float(hidden.max() / max(hidden.min(), 1e-38)) if np.isfinite(hidden).all() else float("inf")


def spread(arm: str, bound: float, *, within: bool = True) -> Statement:
    """The activation rms of the arm stays within the bound over depth, or does not."""
    return Statement(
        text=f"{arm}: largest over smallest activation rms is {'at most' if within else 'above'} {bound:g}",
        on=arm,
        effect="value",
        log=True,
        measure=rms_spread,
        quantity="largest / smallest activation rms over 30 layers",
        at_most=bound if within else None,
        at_least=None if within else bound,
    )


@study
def matching_initialization_keeps_the_signal() -> Study:
    """Init laws over depth."""
    right = ("relu, he_normal", "relu, he_uniform", "tanh, xavier_normal", "tanh, xavier_uniform", "relu, orthogonal")
    wrong = ("relu, half the gain", "relu, twice the gain")
    return Study(
        section="3",
        shows=("init.he_normal", "init.he_uniform", "init.xavier_normal", "init.xavier_uniform", "init.orthogonal"),
        claim="Over 30 layers activations keep their scale with the law that fits the activation, not with a wrong one",
        setting="A plain 30-layer MLP of width 64 on digits, its first forward pass. Wrong: half and twice the gain of "
        "He's law under ReLU. Three seeds, tried first, did not decide.",
        arms={
            "relu, he_normal": changed(DEEP, init="he_normal"),
            "relu, he_uniform": changed(DEEP, init="he_uniform"),
            "relu, orthogonal": changed(DEEP, init="orthogonal"),
            "tanh, xavier_normal": changed(DEEP, model={"activation": "tanh"}, init="xavier_normal"),
            "tanh, xavier_uniform": changed(DEEP, model={"activation": "tanh"}, init="xavier_uniform"),
            "relu, half the gain": changed(DEEP, init={"kind": "he_normal", "gain": 0.7071}),
            "relu, twice the gain": changed(DEEP, init={"kind": "he_normal", "gain": 2.8284}),
        },
        statements=(*(spread(arm, 10) for arm in right), *(spread(arm, 1000, within=False) for arm in wrong)),
        seeds=5,
    )


ANY = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "prelu")


@study
def lsuv_fits_any_activation() -> Study:
    """LSUV under eight activations."""
    return Study(
        section="3",
        shows=("init.lsuv", *(f"activation.{name}" for name in ANY)),
        claim="LSUV keeps the scale of activations over 30 layers whatever the activation is",
        setting="The same 30-layer MLP, its first forward pass after LSUV on one batch.",
        arms={name: changed(DEEP, model={"activation": name}, init="lsuv") for name in ANY},
        statements=tuple(spread(name, 10) for name in ANY),
    )


def gradient_decay(runs: Sequence[Run]) -> float:
    """Gradient norm of the last hidden layer's weights over that of the first hidden layer's, at the first step."""
    (run,) = runs
    norms = _matrix_norms(run)
    return float(norms[-2] / max(norms[1], 1e-38))


def _matrix_norms(run: Run) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    frame = run.series("gradient.norm")
    return frame[[name for name in frame.columns if name.endswith("weight")]].iloc[0].to_numpy(float)


def deep_activation(name: str, init: str) -> Document:
    """Twelve plain layers of one activation."""
    return changed(FIRST_STEP, model={"depth": 12, "width": 64, "activation": name}, init=init)


@study
def saturating_activations_lose_the_gradient() -> Study:
    """Sigmoid and tanh against ReLU over depth."""
    return Study(
        section="3",
        shows=("activation.relu", "activation.tanh", "activation.sigmoid"),
        claim="Over depth sigmoid loses the gradient, tanh loses some, ReLU does not",
        setting="A plain 12-layer MLP of width 64 on digits, first step; Xavier's law for sigmoid and tanh (gain 1 "
        "for sigmoid, 5/3 for tanh), He's for ReLU. Decay: ‖g‖ of the last over the second hidden weight.",
        arms={
            "sigmoid": deep_activation("sigmoid", "xavier_normal"),
            "tanh": deep_activation("tanh", "xavier_normal"),
            "relu": deep_activation("relu", "he_normal"),
        },
        statements=(
            Statement(
                text="sigmoid's decay is at least 1000 times ReLU's",
                on="sigmoid",
                off="relu",
                measure=gradient_decay,
                quantity="‖g‖ of the last / of the second hidden weight",
                at_least=1000,
            ),
            Statement(
                text="tanh's decay is above ReLU's",
                on="tanh",
                off="relu",
                measure=gradient_decay,
                quantity="‖g‖ of the last / of the second hidden weight",
                at_least=1,
            ),
            Statement(
                text="ReLU's decay is at most 10",
                on="relu",
                effect="value",
                log=True,
                measure=gradient_decay,
                quantity="‖g‖ of the last / of the second hidden weight",
                at_most=10,
            ),
        ),
    )


def block_ratio(runs: Sequence[Run]) -> float:
    """Largest over smallest of the gradient norms of the first and of the last block, at the first step."""
    (run,) = runs
    frame = run.series("gradient.norm").iloc[0]
    blocks: dict[str, float] = {}
    for name, value in frame.items():
        block = ".".join(str(name).split(".")[: 4 if "stages" in str(name) else 2])
        if str(name).endswith("weight") and str(name).startswith(("layers.", "stages.")):
            blocks[block] = blocks.get(block, 0.0) + float(value) ** 2
    norms = [value**0.5 for value in blocks.values()]
    first, last = norms[1], norms[-1]
    return max(first, last) / max(min(first, last), 1e-38)


def deep_net(kind: str, **model: object) -> Document:
    """A net of 50 or more layers at its first step."""
    init = {"kind": "he_normal", "gain": 1.0}
    return changed(FIRST_STEP, init=init, model={"kind": kind, **model}, data={"batch_size": 32})


def deep_mlp(**model: object) -> Document:
    """Sixty layers of 64."""
    return deep_net("mlp", depth=60, width=64, **model)


PRE_NORM = {"norm": "layer", "connection": {"kind": "residual", "placement": "pre"}}
XAVIER = {"residual, pre, Xavier": PRE_NORM, "plain, Xavier": {}}
"""The same nets under a law that is not made for ReLU."""


SKIPPING = {
    "residual, pre": deep_mlp(norm="layer", connection={"kind": "residual", "placement": "pre"}),
    "residual, post": deep_mlp(norm="layer", connection={"kind": "residual", "placement": "post"}),
    "rezero": deep_mlp(connection="rezero"),
    "layer scale": deep_mlp(norm="layer", connection="layer_scale"),
    "highway": deep_mlp(connection="highway"),
    "dense": deep_net("densenet", depth=54, width=8, growth=4, stages=3),
    "highway net": deep_net("highway_net", depth=54, width=8, stages=1),
}


@study
def skip_connections_carry_the_gradient() -> Study:
    """First against last block in nets of more than 50 layers."""
    return Study(
        section="2",
        shows=(
            "connection.residual", "connection.rezero", "connection.layer_scale", "connection.highway",
            "connection.dense", "arch.densenet", "arch.highway_net", "arch.mlp",
        ),
        claim="Over 50 layers and more, skip connections keep first and last block's gradients within 10x",
        setting="60-layer MLPs of width 64 (densenet and highway net: 54 convolutions) on digits at their first "
        "step, gain 1 on He's law. The plain net is the same MLP without skips and norms. Xavier's law, "
        "which is not made for ReLU, was tried because He's keeps the plain net's gradients even. So does Xavier's: "
        "what a layer's input loses in scale over depth, the gradient at its output gains, and a weight's gradient has "
        "both as factors.",
        arms={
            **SKIPPING,
            "plain": deep_mlp(),
            **{name: changed(deep_mlp(**model), init="xavier_normal") for name, model in XAVIER.items()},
        },
        statements=(
            *(
                Statement(
                    text=f"{arm}: gradient norms of first and last block are within 10x",
                    on=arm,
                    effect="value",
                    log=True,
                    measure=block_ratio,
                    quantity="larger / smaller gradient norm of first and last block",
                    at_most=10,
                )
                for arm in (*SKIPPING, "residual, pre, Xavier")
            ),
            *(
                Statement(
                    text=f"{arm}: they are more than 1000x apart",
                    on=arm,
                    effect="value",
                    log=True,
                    measure=block_ratio,
                    quantity="larger / smaller gradient norm of first and last block",
                    at_least=1000,
                )
                for arm in ("plain", "plain, Xavier")
            ),
        ),
    )  # fmt: skip


def end_loss(runs: Sequence[Run]) -> float:
    """Validation loss at the end, of a net that may have come to nothing."""
    (run,) = runs
    loss = run.last("loss.validation")
    return loss if np.isfinite(loss) else float("inf")


ZERO = changed(
    digits_mlp(),
    model={"kind": "mlp", "depth": 40, "width": 64, "connection": {"kind": "residual", "placement": "pre"}},
    optimizer={"learning_rate": 0.01},
    steps=150,
)


@study
def zero_last_starts_deep_nets_as_shallow_ones() -> Study:
    """A residual net without norms, its branches starting at zero."""
    return Study(
        section="3",
        shows=("init.zero_last",),
        claim="A deep residual net without norms trains better when each branch starts at zero",
        setting="40 residual layers of width 64 without normalization, He's law, SGD with momentum at 0.01, 150 steps.",
        arms={"zero_last": changed(ZERO, zero_last="zero_last"), "he_normal alone": ZERO},
        statements=(
            Statement(
                text="validation loss with zero_last over that without is at most 1",
                on="zero_last",
                off="he_normal alone",
                measure=end_loss,
                quantity="validation loss after 150 steps",
                at_most=1,
            ),
        ),
    )


CLIFF = changed(
    digits_mlp(),
    model={"kind": "mlp", "depth": 6, "width": 64},
    init={"kind": "he_normal", "gain": 2.5},
    optimizer={"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    steps=200,
)
CLIPS = {
    "norm": {"kind": "norm", "max_norm": 0.5},
    "value": {"kind": "value", "max_value": 0.005},
    "adaptive": {"kind": "adaptive", "ratio": 0.01},
}


@study
def clipping_saves_a_run_that_diverges() -> Study:
    """A start that explodes, with and without clipping."""
    return Study(
        section="3",
        shows=("clip.norm", "clip.value", "clip.adaptive"),
        claim="A run that diverges without clipping finishes with it",
        setting="6-layer MLP on digits that starts with 2.5 times He's scale and SGD with momentum at 0.1: the first "
        "gradients throw it away. Limits: ‖g‖ ≤ 0.5; |g_i| ≤ 0.005; ‖g‖/‖w‖ ≤ 0.01 a unit.",
        arms={**{name: changed(CLIFF, gradients={"clip": clip}) for name, clip in CLIPS.items()}, "none": CLIFF},
        statements=(
            *(
                Statement(
                    text=f"clip {name}: validation accuracy is at least 0.5 above that without clipping",
                    on=name,
                    off="none",
                    effect="difference",
                    measure=last("accuracy.validation"),
                    quantity="validation accuracy",
                    at_least=0.5,
                )
                for name in CLIPS
            ),
        ),
    )
