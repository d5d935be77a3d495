"""What the studies of the toolkit's claims have shown of each technique; written by `make claims`."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

FILE = Path(__file__).with_name("claims.json")


class Shown(BaseModel):
    """A study that shows a technique."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    study: str
    """Its id: the section of docs/claims.md."""
    claim: str
    """What is claimed."""
    decision: Literal["holds", "does not hold", "not decided"]
    """What the measurements say of it."""
    effect: str
    """Effect and 95 % confidence interval of each statement."""


@cache
def claims() -> dict[str, list[Shown]]:
    """Studies by the technique's id; techniques that no study shows are left out."""
    return TypeAdapter(dict[str, list[Shown]]).validate_json(FILE.read_bytes())
