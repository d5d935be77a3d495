"""Text as tokens: Python's own language reference, and files of the user's own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy
import torch

from gyrostat.spec.data import PythonTopics, TextFile
from trainer.data.own_files import data_root_present, own_file
from trainer.data.samples import DataError, Text
from trainer.data.sources import PRESENCE, SOURCES

BYTES = tuple(repr(bytes([value]))[2:-1] for value in range(256))
"""The vocabulary of bytes, printable."""


def tokenized(text: str, unit: Literal["byte", "character"]) -> Text:
    """Bytes of UTF-8 (256 tokens), or characters (as many as differ, in the order of their code points).

    Raises:
        DataError: the text is empty.
    """
    if not text:
        raise DataError("the text is empty; choose another one")
    if unit == "byte":
        return Text(torch.from_numpy(numpy.frombuffer(text.encode(), numpy.uint8).astype(numpy.int64)), BYTES)
    codes = numpy.frombuffer(text.encode("utf-32-le"), numpy.uint32)
    alphabet, tokens = numpy.unique(codes, return_inverse=True)
    return Text(torch.from_numpy(tokens.astype(numpy.int64)), tuple(chr(code) for code in alphabet))


@SOURCES.implements(PythonTopics)
def python_topics(settings: PythonTopics, data_root: Path | None) -> Text:
    """Python's language reference, topic after topic, in the order of their names."""
    if not topics_present(data_root):
        raise DataError("this Python ships no pydoc_data.topics; install its full standard library, or use text_file")
    from pydoc_data.topics import topics

    return tokenized("\n".join(topics[name] for name in sorted(topics)), settings.unit)


@PRESENCE.implements(PythonTopics)
def topics_present(data_root: Path | None) -> bool:
    """Whether this Python ships its reference."""
    return find_spec("pydoc_data") is not None and find_spec("pydoc_data.topics") is not None


@SOURCES.implements(TextFile)
def text_file(settings: TextFile, data_root: Path | None) -> Text:
    """A UTF-8 file under the data root."""
    path = own_file(settings.path, data_root)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{settings.path!r} is not UTF-8 text ({error.reason} at byte {error.start}); convert it"
        ) from None
    except OSError as error:
        raise DataError(f"{settings.path!r} cannot be read: {error.strerror}") from error
    return tokenized(text, settings.unit)


PRESENCE.implements(TextFile)(data_root_present)
