"""The slow, obvious way to each metric, a file for each family; importing one registers its references."""

from gyrostat.doctor.references import (
    activations,
    attention,
    curvature,
    gradients,
    inputs,
    kernel,
    normalization,
    representation,
    weights,
)
from gyrostat.doctor.references.registry import REFERENCES, WITHOUT, Reference, Values

__all__ = [
    "REFERENCES",
    "WITHOUT",
    "Reference",
    "Values",
    "activations",
    "attention",
    "curvature",
    "gradients",
    "inputs",
    "kernel",
    "normalization",
    "representation",
    "weights",
]
