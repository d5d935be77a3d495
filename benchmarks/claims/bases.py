"""What studies start from: small specs that train in seconds, with few probes on."""

from typing import Any

from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.probes import PROBES

Document = dict[str, Any]


def watching(*probes: str, every: int = 10) -> Document:
    """The section `probes` with only these on, at this cadence, without a budget: a study wants its numbers."""
    on = {name: {"enabled": name in probes, **({"every": every} if name in probes else {})} for name in PROBES}
    return {"budget": None, **on}


def digits_mlp(**patch: Any) -> Document:
    """Digits, three hidden layers of 64, SGD with momentum, 200 steps; validated and kept at the end only."""
    return changed(
        {
            "task": {"kind": "classification", "dataset": "digits"},
            "model": {"kind": "mlp", "depth": 3, "width": 64},
            "init": "he_normal",
            "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
            "probes": watching(),
            "validation": {"every": 1_000_000},
            "checkpoints": {"every": 1_000_000, "best": False},
            "threads": 1,
            "steps": 200,
        },
        **patch,
    )


def digits_cnn(**patch: Any) -> Document:
    """As `digits_mlp`, a plain CNN of six layers of 16 channels."""
    return changed(digits_mlp(), model={"kind": "cnn", "depth": 6, "width": 16}, **patch)


def changed(document: Document, **patch: Any) -> Document:
    """`document` changed by a merge patch; still without a budget, which a merge patch cannot say: its null removes."""
    merged: Document = merge_patch(document, patch)
    return {**merged, "probes": {**merged["probes"], "budget": None}}
