"""The slow, obvious way to each metric, a file for each family; importing one registers its references."""

from gyrostat.doctor.references import (
    activations,
    attention,
    curvature,
    gradients,
    inputs,
    kernel,
    noise,
    normalization,
    representation,
    weights,
)
from gyrostat.doctor.references.registry import REFERENCES, WITHOUT, Between, Reference, Values, Wanted

__all__ = [
    "REFERENCES",
    "WITHOUT",
    "Between",
    "Reference",
    "Values",
    "Wanted",
    "activations",
    "attention",
    "curvature",
    "gradients",
    "inputs",
    "kernel",
    "noise",
    "normalization",
    "representation",
    "weights",
]
