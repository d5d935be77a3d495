"""docs/metrics.md, written from the catalogue: `python -m gyrostat.spec.metrics.page > docs/metrics.md`."""

import sys
from collections.abc import Iterator

from gyrostat.spec.metrics import METRICS, STAGES, Metric
from gyrostat.spec.probes import PROBES, Probe

_BEGINNING = """# Metrics

Written from the catalogue itself by `python -m gyrostat.spec.metrics.page > docs/metrics.md`; a test compares.

Each metric has one meaning, in every precision, number of micro-batches and number of ranks. What it is taken of, what
is divided out of it, and over which samples and ranks it is reduced, follows from its **stage**, but for what its
definition says. `gyrostat doctor probes` compares every value with the slow way.

**Axis**: `run` is one number; otherwise a vector, in the order of the network: `module` (modules without children),
`parameter` (tied ones once), `matrix` (parameters of two or more dimensions), `head` (of attention layers), `rank`; but
`eigenvalue` falls from the largest. What was not measured at a step is absent, which is not NaN. **Cost**, in training
steps for one measurement: *cheap* a few hundredths, *moderate* a tenth or more, *dear* a step or many. The flight
recorder has the cheap ones at every step as far as `probes.budget` lets it. *The loop* is what the training loop itself
passes.
"""


def render() -> str:
    """The whole page as Markdown."""
    return "\n".join([_BEGINNING, *_stages(), *_probes(), *_metrics(), ""])


def _stages() -> Iterator[str]:
    yield "## Stages"
    yield "| stage | when | scale | over what |"
    yield "| --- | --- | --- | --- |"
    for stage in STAGES:
        yield f"| {stage.name} | {stage.when} | {stage.scale} | {stage.reduction} |"
    yield ""


def _probes() -> Iterator[str]:
    yield "## Probes"
    yield "Defaults; the settings of `probes.<name>` change them."
    yield ""
    yield "| probe | cost | steps between | at step 1 | what |"
    yield "| --- | --- | --- | --- | --- |"
    for name, probe in PROBES.items():
        settings = probe()
        every = str(settings.every) if settings.enabled else "off"
        start = "yes" if probe.at_start else "no"
        yield f"| {name} | {probe.cost} | {every} | {start} | {_cell(probe.__doc__ or '')} |"
    yield ""


def _metrics() -> Iterator[str]:
    family = ""
    for metric in METRICS.values():
        if metric.name.partition(".")[0] != family:
            if family:
                yield ""
            family = metric.name.partition(".")[0]
            yield f"## `{family}`"
            yield "| metric | unit | axis | stage | probe | definition |"
            yield "| --- | --- | --- | --- | --- | --- |"
        yield _row(metric)


def _row(metric: Metric) -> str:
    probe = probe_of(metric.name)
    by = "the loop" if probe is None else f"{probe.name} ({probe.cost})"
    if metric.name.startswith("probe."):
        by = "the session"
    definition = metric.description + (f" *{metric.source}.*" if metric.source else "")
    return f"| `{metric.name}` | {metric.unit} | {metric.axis} | {metric.stage.name} | {by} | {_cell(definition)} |"


def probe_of(metric: str) -> type[Probe] | None:
    """The settings of the probe that measures it; None where it is not a probe."""
    return next((probe for probe in PROBES.values() if metric in (*probe.metrics, *probe.conditional)), None)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
