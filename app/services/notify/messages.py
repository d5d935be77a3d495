"""What a channel tells: kept as data when it happens, put into words and JSON when it is sent."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast

from app.alerts.lifecycle import RANKS
from app.services.alert_view import view
from app.storage.tables import Alert, Run
from gyrostat.spec.run import Severity

Event = Literal["opened", "worsened", "resolved", "summary", "test"]

MAX_NAMES = 50
"""Layers of an alert that a message names; the worst ones."""
MAX_TOLD = 10
"""Alerts that a summary names."""
MAX_LINES = 5
"""Layers, numbers and remedies that are put into words."""
MAX_SUBJECT = 180

# they change the order in which what follows is read, so that a name could pose as the text around it
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def rank(severity: str) -> int:
    """How severe it is; more is worse."""
    return RANKS.get(cast(Severity, severity), -1)


def of_alert(run: Run, alert: Alert, event: Event, now: datetime) -> dict[str, Any]:
    """The alert and its run as they are now."""
    seen = view(alert).model_dump(mode="json")
    seen["names"], seen["evidence"] = seen["names"][:MAX_NAMES], seen["evidence"][:MAX_NAMES]
    return {
        "event": event,
        "at": now.isoformat(),
        "alert": seen,
        "run": {
            "id": run.id,
            "name": run.name,
            "project": run.project,
            "tags": run.tags,
            "state": run.state,
            "step": run.step,
            "steps": run.steps,
        },
    }


def of_many(counts: Mapping[tuple[str, str], int], first: list[Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    """A summary of messages: how many of each (event, severity), and the first of them."""
    told = [message for message in first if message["event"] in ("opened", "worsened", "resolved")][:MAX_TOLD]
    return {
        "event": "summary",
        "at": now.isoformat(),
        "count": sum(counts.values()),
        "counts": [
            {"event": event, "severity": severity or None, "count": count}
            for (event, severity), count in sorted(counts.items(), key=_worst_first)
        ],
        "alerts": [
            {
                "event": message["event"],
                **{key: message["alert"][key] for key in ("id", "run", "title", "kind", "severity", "summary")},
                "run_name": message["run"]["name"],
            }
            for message in told
        ],
    }


def of_test(channel: str, now: datetime) -> dict[str, Any]:
    """What is sent when somebody tries a channel."""
    return {"event": "test", "at": now.isoformat(), "channel": channel}


def document(message: Mapping[str, Any], delivery: str, public_url: str) -> dict[str, Any]:
    """The message as a webhook gets it."""
    event = message["event"]
    about = {key: value for key, value in message.items() if key not in ("event", "at")}
    return {
        "type": {"summary": "alerts.summary", "test": "channel.test"}.get(event, f"alert.{event}"),
        "id": delivery,
        "timestamp": message["at"],
        "text": f"{title(message)}\n\n{text(message, public_url)}",
        "data": {**about, "event": event, "link": link(message, public_url)},
    }


def link(message: Mapping[str, Any], public_url: str) -> str | None:
    """The page to look at; None where nobody has said under which address there are pages."""
    if not public_url:
        return None
    if "alert" in message:
        return f"{public_url}/runs/{message['run']['id']}"
    return f"{public_url}/{'settings' if message['event'] == 'test' else 'alerts'}"


def title(message: Mapping[str, Any]) -> str:
    """The message in one line."""
    event = message["event"]
    if event == "test":
        return f"Gyrostat: a test of {one_line(message['channel'])}"
    if event == "summary":
        return f"Gyrostat: {message['count']} more {'alerts' if message['count'] != 1 else 'alert'}"
    alert, run = message["alert"], message["run"]
    said = {"opened": alert["severity"], "worsened": f"now {alert['severity']}", "resolved": "resolved"}[event]
    return shortened(f"[{said}] {one_line(alert['title'])}: {one_line(run['name'])}", MAX_SUBJECT)


def text(message: Mapping[str, Any], public_url: str) -> str:
    """The message in some lines, without its title."""
    event = message["event"]
    if event == "test":
        lines = ["This is what a notification looks like. Nothing is wrong, as far as this says."]
    elif event == "summary":
        lines = list(_summary_lines(message))
    else:
        lines = list(_alert_lines(message["alert"], message["run"], event))
    address = link(message, public_url)
    return "\n".join([*lines, *(["", address] if address else [])])


def one_line(words: str) -> str:
    """A name that somebody gave, without what ends lines or turns them round."""
    plain = "".join(" " if unicodedata.category(each) in ("Cc", "Zl", "Zp", "Cs") else each for each in words)
    return " ".join(_REORDERING.sub("", plain).split(" ")).strip()


def shortened(words: str, characters: int) -> str:
    """The words, or their beginning."""
    return words if len(words) <= characters else words[: characters - 1] + "…"


def _alert_lines(alert: Mapping[str, Any], run: Mapping[str, Any], event: str) -> list[str]:
    if event == "resolved":
        step = alert["resolved_step"]
        lines = ["It is over" + (f" since step {step}" if step is not None else "") + ". It was about this:", ""]
    else:
        lines = []
    lines += [one_line(alert["summary"]), ""]
    lines.append(f"Run: {one_line(run['name'])} ({run['id']}), project {one_line(run['project'])}, {run['state']}")
    of_steps = f" of {run['steps']}" if run["steps"] else ""
    since = f", began at {alert['onset_step']}" if alert["onset_step"] is not None else ""
    lines.append(f"Step: {run['step']}{of_steps}{since}")
    if alert["names"]:
        first = ", ".join(one_line(name) for name in alert["names"][:MAX_LINES])
        more = len(alert["names"]) - MAX_LINES
        lines.append(f"Layers: {first}" + (f", {more} more" if more > 0 else ""))
    if event == "resolved":
        return lines
    lines += [f"- {one_line(each['text'])}" for each in alert["evidence"][:MAX_LINES] if each["text"]]
    if alert["remedies"]:
        lines += ["", "What may help:"]
        lines += [f"{place}. {one_line(each['title'])}" for place, each in enumerate(alert["remedies"][:MAX_LINES], 1)]
    return lines


def _summary_lines(message: Mapping[str, Any]) -> list[str]:
    lines = ["More was found than is told one by one:"]
    lines += [
        f"- {each['count']} {each['severity'] or ''} {each['event']}".replace("  ", " ") for each in message["counts"]
    ]
    if message["alerts"]:
        lines += ["", "Among them:"]
        lines += [
            f"- [{each['severity']}, {each['event']}] {one_line(each['title'])}: {one_line(each['run_name'])}"
            for each in message["alerts"]
        ]
    return lines


def _worst_first(entry: tuple[tuple[str, str], int]) -> tuple[int, str]:
    (event, severity), _ = entry
    return -rank(severity), event
