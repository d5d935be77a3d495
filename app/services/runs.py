"""Starts, lists, changes, forks and deletes runs."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.errors import Conflict, Invalid, NotFound
from app.services import alerting, lifecycle
from app.services.controls import control, held, pause, resume, stop
from app.services.cursors import cursor_of, place_of
from app.services.run_requests import ForkRequest, PatchRequest, RunRequest, ValidateRequest
from app.services.run_view import Page, RunView, view, views
from app.storage import runs as run_repository
from app.storage.database import Session
from app.storage.runs import Filter
from app.storage.tables import Attempt, Run
from gyrostat.spec.catalogue import merge_patch
from gyrostat.spec.checks import Problem
from gyrostat.spec.parse import Parsed, SpecError, parse
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.run import RunSpec

__all__ = [
    "ForkRequest",
    "Page",
    "PatchRequest",
    "RunRequest",
    "RunView",
    "control",
    "delete",
    "fork",
    "get",
    "list_runs",
    "new_id",
    "patch",
    "pause",
    "resume",
    "start",
    "stop",
    "validate",
]

MAX_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A spec that can be trained: written out with every default, and what to think about first."""

    spec: dict[str, Any]
    warnings: list[Problem]


def new_id() -> str:
    """An id that nobody can guess and no two runs share."""
    return secrets.token_hex(8)


def validate(request: RunRequest | ValidateRequest) -> Validated:
    """The spec that the request names, with its patch.

    Raises:
        Invalid: listing every problem.
    """
    parsed = _parsed(merge(_source(request), request.patch or {}))
    return Validated(spec=_document(parsed.spec), warnings=parsed.warnings)


def start(session: Session, request: RunRequest, now: datetime, *, run_id: str | None = None) -> RunView:
    """Makes a run: queued with its spec, or running where it is attached from outside; or goes on with an attached one.

    Raises:
        Invalid: the spec has problems; all are listed. NotFound, Conflict: the run to go on with is not there, or is
            none that was attached.
    """
    if request.resume and (earlier := _earlier(session, request)) is not None:
        return _go_on(session, earlier, request.from_step, now)
    run_id = run_id or new_id()
    if request.attached:
        run = _new_run(run_id, request.name or _free_name(session, "attached"), None, now)
    else:
        spec = validate(request).spec
        prefix = request.preset or f"{spec['task']['dataset']['kind']}-{spec['model']['kind']}".replace("_", "-")
        run = _new_run(run_id, request.name or _free_name(session, prefix), spec, now)
    run.project, run.tags, run.notes = request.project, sorted(set(request.tags)), request.notes
    session.add(run)
    session.flush()
    if request.attached:
        _attach(session, run, start_step=0, now=now)
    lifecycle.record(session, run, None, "attached from outside" if request.attached else "asked for", now)
    return view(session, run)


def get(session: Session, run_id: str) -> RunView:
    """One run.

    Raises:
        NotFound: there is none.
    """
    return view(session, found(session, run_id))


def found(session: Session, run_id: str) -> Run:
    """The run's row.

    Raises:
        NotFound: there is none.
    """
    run = run_repository.get(session, run_id)
    if run is None:
        if ":" in run_id:
            raise NotFound(f"there is no run {run_id!r}; what stands after the colon is asked for by POST")
        raise NotFound(f"there is no run {run_id!r}; GET /v1/runs lists those there are")
    return run


def list_runs(
    session: Session,
    *,
    project: str | None = None,
    state: str | Collection[str] | None = None,
    tag: str | Collection[str] | None = None,
    q: str | None = None,
    parent: str | None = None,
    order: str = "-created_at",
    cursor: str | None = None,
    limit: int = 50,
) -> Page[RunView]:
    """Runs that match everything given, page by page; runs made meanwhile neither repeat nor hide others.

    Raises:
        Invalid: the order or the cursor is none.
    """
    if order not in run_repository.ORDERS:
        known = ", ".join(run_repository.ORDERS)
        raise Invalid(
            f"order {order!r} is not one of {known}",
            problems=[Problem(path="query.order", value=order, message="is not an order", mend=f"use one of {known}")],
        )
    wanted = Filter(project=project, states=_several(state), tags=_several(tag), text=q, parent=parent)
    after = None if cursor is None else _place(cursor, order)
    limit = max(1, min(limit, MAX_PAGE))
    rows = run_repository.page(session, wanted, order=order, after=after, limit=limit + 1)
    following = _cursor(rows[limit - 1], order) if len(rows) > limit else None
    return Page[RunView](items=views(session, rows[:limit]), next=following)


def patch(session: Session, run_id: str, change: PatchRequest, now: datetime) -> RunView:
    """Changes name, project, tags or notes.

    Raises:
        NotFound: there is no such run.
    """
    run = held(session, run_id)
    for name, value in change.model_dump(exclude_none=True).items():
        setattr(run, name, sorted(set(value)) if name == "tags" else value)
    run.revision += 1
    run.updated_at = now
    return view(session, run)


def delete(session: Session, run_id: str) -> None:
    """Deletes a run with everything measured on it.

    Raises:
        NotFound: there is no such run.
        Conflict: it is being trained, or a fork has yet to start from one of its checkpoints.
    """
    run = held(session, run_id)
    if run.state in lifecycle.LIVE:
        raise Conflict(f"run {run_id} is {run.state}; POST /v1/runs/{run_id}:stop first, then delete it")
    if waiting := run_repository.waiting_forks(session, [run_id]):
        fork = waiting[0]
        raise Conflict(
            f"fork {fork.id} of run {run_id} is {fork.state}, to start from its checkpoint of step {fork.parent_step}; "
            f"wait until it runs, or POST /v1/runs/{fork.id}:stop, then delete run {run_id}"
        )
    session.delete(run)


def fork(
    session: Session,
    run_id: str,
    *,
    from_step: int | None,
    patch: Mapping[str, Any],
    name: str | None = None,
    now: datetime,
    child_id: str | None = None,
) -> RunView:
    """Queues a new run with this one's spec, patched, from one of its checkpoints or (None) from scratch.

    Raises:
        NotFound: there is no such run.
        Conflict: it was attached from outside, and has no spec.
        Invalid: there is no such checkpoint, or the patched spec has problems or does not fit it.
    """
    parent = found(session, run_id)
    if parent.spec is None:
        raise Conflict(f"run {run_id} was attached from outside and has no spec to fork; start a run with one")
    spec = _parsed(merge(parent.spec, patch)).spec
    document = _document(spec)
    if from_step is not None:
        _check_start(session, parent, document, from_step)
    child = _new_run(child_id or new_id(), name or _free_name(session, f"{parent.name[:190]}-fork"), document, now)
    child.project, child.tags, child.parent, child.parent_step = parent.project, list(parent.tags), run_id, from_step
    session.add(child)
    session.flush()
    beginning = "from scratch" if from_step is None else f"from step {from_step}"
    lifecycle.record(session, child, None, f"forked from {parent.name} {beginning}", now)
    return view(session, child)


def merge(document: Mapping[str, Any], change: Mapping[str, Any]) -> Any:
    """The spec changed by a merge patch.

    Raises:
        Invalid: the patch is no patch of a spec.
    """
    try:
        return merge_patch(document, change)
    except ValueError as error:
        problem = Problem(path="patch", value=None, message=str(error), mend="send a flatter patch")
        raise Invalid(str(error), problems=[problem]) from None


def _check_start(session: Session, parent: Run, spec: Mapping[str, Any], from_step: int) -> None:
    steps = sorted({checkpoint.step for checkpoint in run_repository.checkpoints(session, parent.id)})
    problems = []
    if from_step not in steps:
        kept = ", ".join(map(str, steps)) or "none"
        problems.append(
            Problem(
                path="from_step",
                value=from_step,
                message=f"run {parent.id} has no checkpoint of step {from_step}",
                mend=f"use one of those kept ({kept}), or null to train from scratch",
            )
        )
    if spec["steps"] <= from_step:
        problems.append(
            Problem(
                path="patch.steps",
                value=spec["steps"],
                message=f"the run would end at step {spec['steps']}, not after the checkpoint of step {from_step}",
                mend=f"more than {from_step} steps, or an earlier checkpoint",
            )
        )
    for section in ("task", "model"):
        if _shaping(spec[section]) != _shaping((parent.spec or {})[section]):
            problems.append(
                Problem(
                    path=f"patch.{section}",
                    value=None,
                    message=f"the checkpoint's weights belong to the {section} as it was",
                    mend="from_step null, which trains the changed network from scratch",
                )
            )
    if problems:
        raise Invalid(f"run {parent.id} cannot be forked like this", problems=problems)


def _shaping(section: Mapping[str, Any]) -> dict[str, Any]:
    # activations hold no weights: another one fits any checkpoint
    return {name: value for name, value in section.items() if name != "activation"}


def _new_run(run_id: str, name: str, spec: dict[str, Any] | None, now: datetime) -> Run:
    return Run(
        id=run_id,
        name=name,
        project="default",
        tags=[],
        notes="",
        state=lifecycle.QUEUED,
        reason="",
        step=0,
        steps=None if spec is None else spec["steps"],
        spec=spec,
        parent=None,
        parent_step=None,
        attempt=0,
        wanted=None,
        revision=0,
        failure=None,
        created_at=now,
        updated_at=now,
        started_at=None,
        ended_at=None,
    )


def _earlier(session: Session, request: RunRequest) -> Run | None:
    """The attached run to go on with, held until the transaction ends."""
    if request.resume is True:
        assert request.name is not None
        known = run_repository.newest_attached(session, request.name, request.project)
        return None if known is None else run_repository.locked(session, known)
    run = run_repository.locked(session, found(session, str(request.resume)).id)
    if run is None or run.spec is not None:
        raise Conflict(f"run {request.resume} is trained by a worker and cannot be attached to; fork it instead")
    return run


def _go_on(session: Session, run: Run, from_step: int, now: datetime) -> RunView:
    """The next attempt of an attached run, whatever became of the one before."""
    before, old = run_repository.attempt(session, run.id, run.attempt), run.state
    if before is not None:
        lifecycle.end_attempt(before, "interrupted", now)
    _attach(session, run, start_step=from_step, now=now)
    run.failure = None
    lifecycle.record(session, run, old, f"attached again, from step {from_step}", now)
    return view(session, run)


def _attach(session: Session, run: Run, *, start_step: int, now: datetime) -> None:
    run.state, run.attempt, run.started_at = lifecycle.RUNNING, run.attempt + 1, run.started_at or now
    session.add(
        Attempt(
            run_id=run.id, number=run.attempt, worker_id=None, start_step=start_step,
            lease_until=None, started_at=now, ended_at=None, outcome=None,
        )
    )  # fmt: skip


def _source(request: RunRequest | ValidateRequest) -> dict[str, Any]:
    if request.preset is None:
        return request.spec or {}
    if request.preset not in PRESETS:
        known = ", ".join(PRESETS)
        problem = Problem(path="preset", value=request.preset, message="is no preset", mend=f"use one of {known}")
        raise Invalid(f"there is no preset {request.preset!r}; there are {known}", problems=[problem])
    return PRESETS[request.preset].document


def _parsed(document: Any) -> Parsed:
    try:
        parsed = parse(document)
        problems = alerting.check_overrides(parsed.spec)
    except SpecError as error:
        problems = error.problems
    if problems:
        count = len(problems)
        raise Invalid(f"the spec has {count} problem{'s' if count > 1 else ''}", problems=problems)
    return parsed


def _document(spec: RunSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def _free_name(session: Session, prefix: str) -> str:
    taken = run_repository.names_like(session, f"{prefix}-")
    number = len(taken) + 1
    while f"{prefix}-{number}" in taken:
        number += 1
    return f"{prefix}-{number}"


def _several(given: str | Collection[str] | None) -> Collection[str]:
    return () if given is None else (given,) if isinstance(given, str) else given


def _cursor(run: Run, order: str) -> str:
    value = getattr(run, order.removeprefix("-"))
    text = value.isoformat() if isinstance(value, datetime) else value
    return cursor_of([order, text, run.id])


def _place(cursor: str, order: str) -> tuple[Any, str]:
    def checked(place: Any) -> tuple[Any, str]:
        of_order, text, run_id = place
        value = datetime.fromisoformat(text) if of_order.endswith("_at") else str(text)
        if of_order != order or not isinstance(run_id, str) or (isinstance(value, datetime) and value.tzinfo is None):
            raise ValueError("it belongs to another list")
        return value, run_id

    return place_of(cursor, checked, sent="send the `next` of the last page with the same order")
