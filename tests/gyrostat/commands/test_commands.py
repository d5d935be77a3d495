import subprocess
import sys
from pathlib import Path

import pytest

import gyrostat
from gyrostat import commands

ROOT = Path(__file__).parents[3]


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["version"]) == 0
    assert capsys.readouterr().out.strip() == gyrostat.__version__


def test_no_subcommand_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.main([])
    assert ended.value.code == 2
    assert "sync" in capsys.readouterr().err


def test_a_package_that_is_missing_is_told_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    # A process of its own: in this one another test may have loaded what the missing package would have kept away.
    program = "import sys; sys.modules['pyarrow'] = None; import gyrostat.commands as c; sys.exit(c.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "import", str(tmp_path / "run.parquet")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "gyrostat: this needs pyarrow: pip install 'gyrostat[transfer]'\n")


def test_torch_is_not_loaded_before_it_is_needed() -> None:
    program = "import sys, gyrostat.commands as c; c.main(['version']); c.parser(); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_m_gyrostat_is_the_same() -> None:
    command = [sys.executable, "-m", "gyrostat", "version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, gyrostat.__version__)
