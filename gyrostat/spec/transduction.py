"""Data sets of pairs of sequences, one to be made of the other."""

from typing import ClassVar, Literal

from pydantic import Field

from gyrostat.spec.datasets import Dataset, DatasetEntry


class Transduction(Dataset):
    """Sequences of symbols, drawn evenly, each to be copied, reversed or sorted."""

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Sequences to copy, reverse or sort",
        tasks=("sequence_to_sequence",),
        form="text",
        shape=None,
        outputs=None,
        rows=4000,
        source="generated, in the manner of Graves, Wayne and Danihelka 2014, arXiv 1410.5401, sections 4.1 and 4.5 "
        "(copy, sort), and Grefenstette et al. 2015, arXiv 1506.02516 (reverse)",
    )
    kind: Literal["transduction"] = "transduction"
    operation: Literal["copy", "reverse", "sort"] = "reverse"
    """What makes the target of the source; `sort` is ascending."""
    alphabet: int = Field(16, ge=2, le=1000)
    """Different symbols."""
    length: int = Field(12, ge=2, le=256)
    """Symbols of each source and each target."""
    rows: int = Field(4000, ge=8, le=100_000)
    """Pairs; where alphabet and length allow few different sources, some come more than once."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the data, not of the run."""

    def num_rows(self) -> int:
        """As set."""
        return self.rows


class TextTransduction(Dataset):
    """Pieces of Python's own language reference, to be restored from what was done to them.

    The pieces do not overlap, so that none held out is seen in training.
    """

    entry: ClassVar[DatasetEntry] = DatasetEntry(
        title="Python's language reference, to be restored",
        tasks=("sequence_to_sequence",),
        form="text",
        shape=None,
        outputs=None,
        rows=4000,
        source="`pydoc_data.topics` of the Python that runs the worker",
    )
    kind: Literal["text_transduction"] = "text_transduction"
    damage: Literal["vowels", "order"] = "vowels"
    """What the source lacks: each vowel is a blank, or the characters stand in reverse."""
    length: int = Field(24, ge=2, le=96)
    """Characters of each source and each target."""
    rows: int = Field(4000, ge=8, le=4000)
    """Pairs, taken evenly over the text."""

    def num_rows(self) -> int:
        """As set."""
        return self.rows
