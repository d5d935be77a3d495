from pathlib import Path

from app.alerts.base import DETECTORS
from app.alerts.document import render

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"


def test_the_page_is_what_the_detectors_say() -> None:
    assert PAGE.read_text() == render(), "run: python -m app.alerts.document > docs/alerts.md"


def test_the_page_holds_every_kind_with_its_thresholds_sources_and_remedies() -> None:
    page = render()
    for kind, detector in DETECTORS.items():
        assert f"(`{kind}`)" in page
        assert detector.source in page
        for threshold in detector.model_fields:
            assert f"| `{threshold}` |" in page
    assert page.count("**Remedies, in order.**") == len(DETECTORS) - 1
