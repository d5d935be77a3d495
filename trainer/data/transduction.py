"""Pairs of sequences, one to be made of the other: generated, and of Python's own text."""

from pathlib import Path

import torch
from torch import Tensor

from gyrostat.spec.data import PythonTopics
from gyrostat.spec.transduction import TextTransduction, Transduction
from trainer.data.generators import generator
from trainer.data.samples import DataError, Pairs
from trainer.data.sources import PRESENCE, SOURCES
from trainer.data.text import python_topics, topics_present

START, BLANK = "⟨start⟩", "⟨vowel⟩"
VOWELS = frozenset("aeiouAEIOU")


@SOURCES.implements(Transduction)
def transduction(settings: Transduction, data_root: Path | None) -> Pairs:
    """Sources drawn evenly from the alphabet, each with what the operation makes of it."""
    draw = generator(settings.seed, "transduction")
    sources = torch.randint(settings.alphabet, (settings.rows, settings.length), generator=draw)
    vocabulary = (*map(str, range(settings.alphabet)), START)
    return Pairs(sources, transduced(sources, settings.operation), vocabulary, start=settings.alphabet)


def transduced(sources: Tensor, operation: str) -> Tensor:
    """(N, T) to (N, T): each row as it is ("copy"), backwards ("reverse") or in rising order ("sort")."""
    if operation == "sort":
        return sources.sort(1).values
    return sources.flip(1) if operation == "reverse" else sources.clone()


@SOURCES.implements(TextTransduction)
def text_transduction(settings: TextTransduction, data_root: Path | None) -> Pairs:
    """Pieces of the text as targets; sources are what is left of them."""
    text = python_topics(PythonTopics(unit="character"), data_root)
    pieces = text.tokens[: len(text.tokens) // settings.length * settings.length].view(-1, settings.length)
    if len(pieces) < settings.rows:
        raise DataError(
            f"this Python's language reference has {len(pieces)} pieces of {settings.length} characters, fewer than "
            f"{settings.rows}; use a smaller task.dataset.length or task.dataset.rows"
        )
    targets = pieces[torch.arange(settings.rows) * len(pieces) // settings.rows]
    blank, start = len(text.vocabulary), len(text.vocabulary) + 1
    if settings.damage == "vowels":
        vowels = torch.tensor([character in VOWELS for character in text.vocabulary])
        sources = targets.masked_fill(vowels[targets], blank)
    else:
        sources = targets.flip(1)
    return Pairs(sources, targets, (*text.vocabulary, BLANK, START), start=start)


@PRESENCE.implements(TextTransduction)
def text_transduction_present(data_root: Path | None) -> bool:
    """Where Python ships its reference."""
    return topics_present(data_root)
