"""The studies, one file per part of the brief, in its order."""

from benchmarks.claims.studies import signal

__all__ = ["signal"]
