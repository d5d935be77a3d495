"""docs/security.md names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [line for line in (ROOT / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")][2:]


@pytest.mark.parametrize("row", ROWS, ids=[row[2:60] for row in ROWS])
def test_each_promise_is_held_by_tests_and_kept_by_code_that_there_are(row: str) -> None:
    promise, code, tests = (cell.strip() for cell in row.strip("|").split(" | "))
    assert promise
    for path in re.findall(r"`([^`]+)`", code):
        assert (ROOT / path).exists(), path
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    file = ""
    for each in named:
        where, _, function = each.partition("::")
        file = where or file
        path = ROOT / (file if file.startswith("tests/") else f"tests/app/{file}")
        assert path.exists(), file
        assert not function or f"def {function}(" in path.read_text(), each
