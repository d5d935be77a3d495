"""The format as docs/storage.md describes it, read by the script that stands there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from sqlalchemy import make_url

from app.services.maintenance import merge_some
from app.storage import migrate, sqlite
from app.storage.database import Database
from tests.app.measured import VECTOR, start

DOCUMENT = Path(__file__).parents[3] / "docs" / "storage.md"
SCRIPTS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_the_script_reads_what_was_stored_without_any_of_our_code(tmp_path: Path, sqlite_template: Path) -> None:
    file = tmp_path / "copy.sqlite"
    file.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{file}")
    sender = start(database)
    values = np.random.default_rng(2).normal(size=(1300, 3)).astype(np.float32)
    values[7] = [np.nan, np.inf, -np.inf]
    for first in range(0, 1300, 50):
        sender.frames(np.arange(first, first + 50) + 10, {VECTOR: values[first : first + 50]})
    while merge_some(database):
        pass
    database.close()
    script = tmp_path / "read.py"
    script.write_text(SCRIPTS[0])
    assert "gyrostat." not in SCRIPTS[0]
    assert "import app" not in SCRIPTS[0]
    printed = subprocess.run(
        [sys.executable, "-I", str(script), str(file), "r1", VECTOR], capture_output=True, text=True, check=True
    ).stdout
    found = np.array([line.split() for line in printed.splitlines()], dtype=np.float64)
    assert (found[:, 0] == 1).all()
    np.testing.assert_array_equal(found[:, 1], np.arange(1300) + 10)
    np.testing.assert_array_equal(found[:, 2:].astype(np.float32), values)


def test_the_recipe_for_a_migration_works(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for source in (*migrate.FOLDER.glob("*.*"), *(migrate.FOLDER / "versions").glob("*.py")):
        (folder / source.relative_to(migrate.FOLDER)).write_bytes(source.read_bytes())
    monkeypatch.setattr(migrate, "FOLDER", folder)
    before = set((folder / "versions").iterdir())
    engine = sqlite.make_engine
    monkeypatch.setattr(sqlite, "make_engine", lambda url, **more: engine(make_url(f"sqlite:///{tmp_path}/x"), **more))
    scope: dict[str, object] = {}
    exec(SCRIPTS[1], scope)
    scope["engine"].dispose()  # type: ignore[attr-defined]
    (made,) = {path for path in (folder / "versions").iterdir() if path.suffix == ".py"} - before
    assert made.name.endswith("_add_transition_reason.py")
    assert "pass" in made.read_text()  # tables and migrations agree, so there is nothing to change
