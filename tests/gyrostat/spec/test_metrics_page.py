from pathlib import Path

from gyrostat.spec.metrics import METRICS, STAGES
from gyrostat.spec.metrics.page import probe_of, render
from gyrostat.spec.probes import PROBES

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_is_what_the_catalogue_says() -> None:
    assert PAGE.read_text() == render(), "run: python -m gyrostat.spec.metrics.page > docs/metrics.md"


def test_the_page_holds_every_metric_once_with_its_source_and_every_stage_and_probe() -> None:
    lines = PAGE.read_text().splitlines()
    for metric in METRICS.values():
        (row,) = [line for line in lines if line.startswith(f"| `{metric.name}` |")]
        assert metric.source in row.replace("\\|", "|")
        assert f"| {metric.axis} | {metric.stage.name} |" in row
        assert row.count("|") - row.count("\\|") == 7
    for name in (*(stage.name for stage in STAGES), *PROBES):
        assert any(line.startswith(f"| {name} |") for line in lines), name


def test_every_metric_of_a_probe_is_in_the_catalogue_and_of_one_probe_alone() -> None:
    measured = [metric for probe in PROBES.values() for metric in (*probe.metrics, *probe.conditional)]
    assert len(measured) == len(set(measured))
    assert set(measured) <= set(METRICS)
    assert probe_of("gradient.clipped_norm") is PROBES["gradients"]
    assert probe_of("loss.train") is None
