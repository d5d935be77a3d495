"""docs/alerts.md, written from the registry: `python -m app.alerts.document` prints it."""

import sys
from collections.abc import Iterator

from app.alerts import detectors as _registered  # noqa: F401  (importing it fills the registry)
from app.alerts.base import DETECTORS, Detector
from app.alerts.remedies import PROPOSALS

_BEGINNING = """# Alerts

Written from the detectors themselves by `python -m app.alerts.document > docs/alerts.md`; a test compares.

A **detector** judges each frame that holds what it reads, and remembers a little; a **rule** is a detector with
settings and a severity. A rule has one alert on a run at a time. It opens when the rule is breached for `hold`
evaluations in a row, is updated when it becomes worse or concerns further layers, and is resolved when the rule has
been clean for `quiet` evaluations in a row, or by hand. Evaluations count, not seconds: a paused run resolves nothing.
Frames, the detectors' memory and the alerts commit in one transaction, so a restart of the backend neither loses nor
repeats one. At the first suspicion the probes are asked to measure more often for a while.

What is not finite never enters a baseline, and neither does a spike; `non_finite` reports the former. When a training
goes on from a checkpoint, baselines start anew and keep the run's first losses and norms; open alerts stay open until
they have been quiet.

**Changing a rule**: for all runs by `PUT /v1/rules`, for one run by `rules` in its spec, which wins:
`{"rules": {"loss_spike": {"enabled": true, "severity": "warning", "settings": {"sigmas": 8}}}}`. A rule whose settings
change starts afresh. `POST /v1/rules:backtest` tells what a rule would have said of a stored run.

**Telling people**: channels send word of alerts that open, become more severe or are resolved, by webhook or mail: see
[channels](channels.md).

**Remedies** are changes to the spec (for a fork) or to the running training, in the order that evidence of trainers'
practice and repair studies supports. What a run already has is not offered, and every patch is checked to make a valid
spec. They are experiments: random search does as well as most repair tools (Kim et al., ICST 2023, arXiv 2301.11568),
so when the fork has ended, the alert says whether it came back and whether the run ended better. `POST
/v1/alerts/{id}/remedies/{number}:apply` applies one; `number` counts the list of `GET /v1/alerts/{id}/remedies` from 0.
"""


def render() -> str:
    """The whole page as Markdown."""
    return "\n".join([_BEGINNING, *(_table()), *(line for kind in DETECTORS for line in _section(DETECTORS[kind]))])


def _table() -> Iterator[str]:
    yield "| kind | title | severity | reads | hold | quiet |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for kind, detector in DETECTORS.items():
        reads = ", ".join(f"`{metric}`" for metric in detector.metrics) or "the worker's lease"
        yield f"| `{kind}` | {detector.title} | {detector.severity} | {reads} | {detector.hold} | {detector.quiet} |"
    yield ""


def _section(detector: type[Detector]) -> Iterator[str]:
    yield f"## {detector.title} (`{detector.kind}`)"
    yield ""
    yield detector.explanation
    yield ""
    if detector.model_fields:
        yield "| threshold | default | range | meaning |"
        yield "| --- | --- | --- | --- |"
        for name, schema in detector.model_json_schema()["properties"].items():
            yield f"| `{name}` | {schema['default']:g} | {_range(schema)} | {schema['description']} |"
        yield ""
    yield f"**Source.** {detector.source}."
    yield ""
    proposals = PROPOSALS.get(detector.kind, ())
    if proposals:
        yield "**Remedies, in order.**"
        yield ""
        for number, proposal in enumerate(proposals, start=1):
            yield f"{number}. {(proposal.__doc__ or '').strip()}"
        yield ""


def _range(schema: dict[str, float]) -> str:
    low = f"[{schema['minimum']:g}" if "minimum" in schema else f"({schema['exclusiveMinimum']:g}"
    high = f"{schema['maximum']:g}]" if "maximum" in schema else f"{schema['exclusiveMaximum']:g})"
    return f"{low}, {high}"


if __name__ == "__main__":
    sys.stdout.write(render())
