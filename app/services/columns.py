"""Which columns a metric has, over all layouts that its rows follow, and where each of a layout's columns goes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from app.errors import Invalid
from app.storage import frames as frame_repository
from app.storage.database import Session
from gyrostat.spec.checks import Problem
from gyrostat.wire.layout import Layout


@dataclass(frozen=True, eq=False, kw_only=True)
class Alignment:
    """The columns' names, and of each (attempt, layout) where each of its columns goes among them; -1: nowhere."""

    names: tuple[str, ...]
    places: dict[tuple[int, int], npt.NDArray[np.int64]]


def names_in(known: Layout | None, metric: str) -> Sequence[str]:
    """Of a metric's columns; one that the backend itself adds, and no layout declares, is a scalar."""
    return ("",) if known is None else known.names.get(metric, ("",))


def columns_of(session: Session, run_id: str, metric: str, used: set[tuple[int, int]], glob: str | None) -> Alignment:
    """The columns of a metric whose rows follow the layouts `used`: the newest layout's, then those only others have.

    Of all, the one whose name is `glob`, or those that it matches.

    Raises:
        Invalid: none of them matches.
    """
    layouts = frame_repository.layouts(session, run_id)
    declaring = [key for key, known in layouts.items() if known.width(metric) is not None]
    newest = declaring[-1:] or sorted(used)[-1:]
    names_of = {key: names_in(layouts[key], metric) for key in [*newest, *sorted(used, reverse=True)]}
    if not names_of:  # none is declared or stored there: as the backend's own metrics are
        names_of = {(0, 0): names_in(None, metric)}
    first = next(iter(names_of.values()))
    if glob is None and all(each == first for each in names_of.values()):
        return Alignment(names=tuple(first), places=dict.fromkeys(used, np.arange(len(first))))
    order = dict.fromkeys(name for each in names_of.values() for name in each)
    names = matching(order, glob, metric)
    return Alignment(names=names, places={key: _places_in(names_of[key], names) for key in used})


def matching(names: Collection[str], glob: str | None, metric: str) -> tuple[str, ...]:
    """Of a metric's names the one that is `glob`, or those that it matches; None: all.

    Raises:
        Invalid: none of them does.
    """
    if glob is not None and glob in names:  # as most charts ask: ten thousand comparisons take longer than all else
        return (glob,)
    found = tuple(name for name in names if glob is None or fnmatchcase(name, glob))
    if names and not found:
        some = ", ".join(list(names)[:5])
        problem = Problem(
            path="names", value=glob, message="matches none of the names", mend=f"the names are {some} ..."
        )
        raise Invalid(f"no name of {metric} matches {glob!r}", problems=[problem])
    return found


def _places_in(layout_names: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Where each of a layout's columns goes among `names`; -1: nowhere."""
    place_of = {name: place for place, name in enumerate(names)}
    return np.array([place_of.get(name, -1) for name in layout_names], dtype=np.int64)
