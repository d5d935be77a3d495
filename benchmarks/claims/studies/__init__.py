"""The studies, one file per part of the brief, in its order."""

from benchmarks.claims.studies import (
    generalization,
    generative,
    normalization,
    optimization,
    signal,
    structure,
    systems,
    theory,
)

__all__ = ["generalization", "generative", "normalization", "optimization", "signal", "structure", "systems", "theory"]
