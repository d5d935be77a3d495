"""What must stay true of the whole tree: who may import whom, and how long a file or a function may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gyrostat", "trainer", "app")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
"""Of code: without its docstring, comments and blank lines."""

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_imports_point_the_way_they_shall() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout[-4000:]


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_files_and_functions_stay_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _num_code_lines(node, lines)
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def _num_code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    # words cost nothing: a function is not too long for being explained
    first = function.body[0]
    told = range(first.lineno, (first.end_lineno or 0) + 1) if ast.get_docstring(function) is not None else range(0)
    code = (
        number
        for number in range(function.lineno, (function.end_lineno or 0) + 1)
        if number not in told and lines[number - 1].strip() and not lines[number - 1].lstrip().startswith("#")
    )
    return sum(1 for _ in code)


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not for this process")

sys.meta_path.insert(0, Blocked())
"""


def _without(blocked: tuple[str, ...], program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked) + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_backend_is_built_and_answers_without_torch_and_trainer() -> None:
    program = """
from pathlib import Path
import app.__main__
from app.main import create_app
from app.settings import AppSettings
print(len(create_app(AppSettings(data=Path("never-opened"))).openapi()["paths"]))
"""
    built = _without(("torch", "trainer", "sklearn"), program)
    assert built.returncode == 0, built.stderr[-2000:]
    assert int(built.stdout) > 20


def test_what_both_sides_speak_needs_no_backend() -> None:
    program = "import gyrostat.spec.parse, gyrostat.spec.presets, gyrostat.wire.codec, gyrostat.wire.messages"
    built = _without(("torch", "trainer", "app", "sqlalchemy", "fastapi"), program)
    assert built.returncode == 0, built.stderr[-2000:]


def test_nothing_runs_when_the_backend_is_imported(tmp_path: Path) -> None:
    program = "import threading, app.main; assert threading.active_count() == 1, threading.enumerate()"
    built = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert built.returncode == 0, built.stderr
    assert list(tmp_path.iterdir()) == []
