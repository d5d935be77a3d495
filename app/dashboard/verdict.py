"""Is this run well, and if not, where? One line, decided from the run and its alerts."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from app.dashboard.formats import count
from app.dashboard.looks import SEVERITIES

MAX_NAMES = 2


class Finding(Protocol):
    """What of an alert the verdict looks at."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def muted(self) -> bool: ...  # noqa: D102
    @property
    def names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def onset_step(self) -> int | None: ...  # noqa: D102


class Verdict(NamedTuple):
    """The line at the top of the run page. `names`: layers to look at, worst first; `num_more` beyond them."""

    tone: str
    icon: str
    title: str
    text: str
    names: tuple[str, ...] = ()
    num_more: int = 0
    since: str = ""


def verdict(state: str, reason: str, step: int, alerts: Sequence[Finding]) -> Verdict:
    """What a person should know within five seconds.

    Args:
        state: of the run.
        reason: why it is in it.
        step: newest step heard of.
        alerts: all of the run's, in any order.
    """
    active = sorted(
        (alert for alert in alerts if alert.state == "open" and not alert.muted),
        key=lambda alert: (SEVERITIES.index(alert.severity), alert.onset_step or 0),
    )
    if active:
        return _of_alerts(active)
    known = sum(alert.state == "acknowledged" or (alert.state == "open" and alert.muted) for alert in alerts)
    past = f" {known} known alert{'s' * (known != 1)} acknowledged or muted." if known else ""
    if state in ("failed", "lost"):
        return Verdict("critical", "critical", state.capitalize() + ".", reason + past)
    if state == "unreachable":
        return Verdict("warning", "warning", "Out of contact.", f"{reason}{past}")
    if state in ("queued", "starting"):
        title = "Waiting for a worker." if state == "queued" else "Starting."
        return Verdict("neutral", "clock", title, "Nothing has been measured yet." if not step else past.strip())
    resolved = sum(alert.state == "resolved" for alert in alerts)
    healed = f" {resolved} alert{'s' * (resolved != 1)} came and went." if resolved else ""
    title = {"finished": "Finished well.", "stopped": "Stopped.", "paused": "Paused."}.get(state, "Well.")
    tone, icon = ("neutral", "info") if state in ("stopped", "paused") else ("ok", "well")
    return Verdict(tone, icon, title, f"No open alerts after {count(step)} steps.{healed}{past}")


def _of_alerts(active: Sequence[Finding]) -> Verdict:
    worst = active[0]
    number = len(active)
    title = f"{number} open alert{'s' * (number != 1)}."
    text = f"Worst: {worst.title[:1].lower()}{worst.title[1:]}" if number > 1 else worst.title
    return Verdict(
        tone={"critical": "critical", "warning": "warning"}.get(worst.severity, "neutral"),
        icon=worst.severity,
        title=title,
        text=text,
        names=tuple(worst.names[:MAX_NAMES]),
        num_more=max(0, len(worst.names) - MAX_NAMES),
        since=f", since step {count(worst.onset_step)}." if worst.onset_step is not None else ".",
    )
