"""What the form of a new run shows."""

from typing import Any

from app.dashboard.spec_form import groups
from gyrostat.spec.presets import PRESETS


def context(chosen: str) -> dict[str, Any]:
    """Everything that templates/new_run.html names; `chosen` is the preset to begin with, the first if unknown."""
    preset = PRESETS.get(chosen) or next(iter(PRESETS.values()))
    return {
        "presets": list(PRESETS.values()),
        "chosen": preset.id,
        "document": preset.document,
        "documents": {each.id: each.document for each in PRESETS.values()},
        "groups": groups(),
    }
