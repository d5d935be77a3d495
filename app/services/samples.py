"""Pictures of what a generative model makes while it is trained: checked, bounded in number, shown."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from app.errors import Invalid, NotFound
from app.services.run_view import View
from app.storage import runs as run_repository
from app.storage import samples as sample_repository
from app.storage.database import Session
from app.storage.tables import Sample
from gyrostat.spec.checks import Problem
from gyrostat.wire import png
from gyrostat.wire.messages import Event

MAX_KEPT = 24
"""Pictures of one run: the first, the newest, and others spread over the steps between."""
MAX_CAPTION = 200


class SampleView(View):
    """One picture."""

    step: int
    """The optimizer step after which it was made."""
    attempt: int
    width: int
    """In pixels."""
    height: int
    caption: str
    """What it shows, in words."""
    at: datetime


class Samples(View):
    """A run's pictures."""

    items: list[SampleView]
    """Newest step first; the first and the newest stay, of the others some are left out where there are many."""
    next: None = None


def listed(session: Session, run_id: str) -> Samples:
    """What pictures the run has.

    Raises:
        NotFound: there is no such run.
    """
    if run_repository.get(session, run_id) is None:
        raise NotFound(f"there is no run {run_id!r}; GET /v1/runs lists those there are")
    return Samples(items=[SampleView.model_validate(row) for row in sample_repository.listed(session, run_id)])


def picture(session: Session, run_id: str, step: int) -> bytes:
    """The PNG of that step.

    Raises:
        NotFound: there is no such run, or it has no picture of that step.
    """
    sample = sample_repository.get(session, run_id, step)
    if sample is None:
        known = ", ".join(str(each.step) for each in listed(session, run_id).items) or "none"
        raise NotFound(f"run {run_id} has no samples of step {step}; there are some of steps: {known}")
    return sample.png


def kept(session: Session, run_id: str, attempt: int, event: Event, now: datetime) -> Event:
    """Keeps the picture that a `samples` event carries; answers the event without it, as others are told of it.

    Raises:
        Invalid: it carries no sound PNG.
    """
    data = _decoded(event)
    try:
        width, height = png.size_of(data)
    except ValueError as error:
        raise _refusal(event, str(error)) from error
    caption = str(event.data.get("caption", ""))[:MAX_CAPTION]
    sample = Sample(
        run_id=run_id,
        step=event.step,
        attempt=attempt,
        width=width,
        height=height,
        caption=caption,
        png=data,
        at=now,
    )
    sample_repository.put(session, sample)
    steps = sample_repository.steps(session, run_id)
    while len(steps) > MAX_KEPT:
        sample_repository.remove(session, run_id, one_too_many := least_missed(steps))
        steps.remove(one_too_many)
    return event.model_copy(update={"data": {"caption": caption, "width": width, "height": height}})


def least_missed(steps: Sequence[int]) -> int:
    """Of three or more rising steps the inner one whose neighbours are nearest to each other, the later of two."""
    gaps = {inner: after - before for (before, inner), (_, after) in pairwise(pairwise(steps))}
    return min(gaps, key=lambda step: (gaps[step], -step))


def _decoded(event: Event) -> bytes:
    text = event.data.get("png")
    if not isinstance(text, str):
        raise _refusal(event, "it has no text of that name")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refusal(event, f"it is no base64: {error}") from error


def _refusal(event: Event, cause: str) -> Invalid:
    problem = Problem(
        path="events.data.png",
        value=str(event.data.get("png"))[:40],
        message=cause,
        mend=f"base64 of a PNG of at most {png.MAX_BYTES} bytes and {png.MAX_SIDE} pixels a side",
    )
    return Invalid(f"the samples of step {event.step} cannot be kept: {cause}", problems=[problem])
