"""Where data sources are registered by the class of their settings."""

from trainer.data.samples import Labelled, Pairs, Text
from trainer.stabilizers.registry import Registry

SOURCES: Registry[Labelled | Text | Pairs] = Registry("data set")
"""Each is called with (settings, data_root: Path | None) and raises `DataError` where its data cannot be had."""

PRESENCE: Registry[bool] = Registry("presence of data set")
"""For sources that are not everywhere: called with (data_root: Path | None), whether this machine has them."""
