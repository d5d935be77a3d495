"""Signal and gradient over depth: skip connections, initialization, activations (brief sections 2 and 3)."""

from collections.abc import Sequence

import numpy as np

from benchmarks.claims.bases import changed, digits_mlp, watching
from benchmarks.claims.results import Run
from benchmarks.claims.study import Statement, Study, study

DEEP = changed(
    digits_mlp(), model={"depth": 30, "width": 64}, probes=watching("activations", "gradients", every=1), steps=1
)


def rms_spread(runs: Sequence[Run]) -> float:
    """Largest over smallest activation rms of the 30 hidden layers at the first step."""
    (run,) = runs
    frame = run.series("activation.rms")
    hidden = frame[[name for name in frame.columns if name.endswith(".activation")]].iloc[0].to_numpy(float)
    return float(hidden.max() / max(hidden.min(), 1e-38)) if np.isfinite(hidden).all() else float("inf")


@study
def matching_initialization_keeps_the_signal() -> Study:
    """Init laws over depth."""
    return Study(
        section="3",
        shows=("init.he_normal", "init.he_uniform", "init.xavier_normal", "init.xavier_uniform"),
        claim="Over 30 layers activations keep their scale with the law that fits the activation, not with a wrong one",
        setting="A plain 30-layer MLP of width 64 on digits, its first forward pass. Wrong: half and "
        "twice the gain of He's law, under ReLU.",
        arms={
            "relu, he_normal": changed(DEEP, init="he_normal"),
            "relu, he_uniform": changed(DEEP, init="he_uniform"),
            "tanh, xavier_normal": changed(DEEP, model={"activation": "tanh"}, init="xavier_normal"),
            "tanh, xavier_uniform": changed(DEEP, model={"activation": "tanh"}, init="xavier_uniform"),
            "relu, half the gain": changed(DEEP, init={"kind": "he_normal", "gain": 0.7071}),
            "relu, twice the gain": changed(DEEP, init={"kind": "he_normal", "gain": 2.8284}),
        },
        statements=(
            *(
                Statement(
                    text=f"{arm}: largest over smallest activation rms of the 30 layers is at most 10",
                    on=arm,
                    effect="value",
                    log=True,
                    measure=rms_spread,
                    quantity="largest / smallest activation rms over 30 layers",
                    at_most=10,
                )
                for arm in ("relu, he_normal", "relu, he_uniform", "tanh, xavier_normal", "tanh, xavier_uniform")
            ),
            *(
                Statement(
                    text=f"{arm}: it is more than 1000",
                    on=arm,
                    effect="value",
                    log=True,
                    measure=rms_spread,
                    quantity="largest / smallest activation rms over 30 layers",
                    at_least=1000,
                )
                for arm in ("relu, half the gain", "relu, twice the gain")
            ),
        ),
    )
