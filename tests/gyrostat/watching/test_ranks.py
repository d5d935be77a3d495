"""Two ranks: rank 0 is watched, and its gradients are those after they were reduced, before they were clipped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gyrostat.stream.attached import folders
from tests.gyrostat.watching.folders import left_in

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", ["copies", "views"])
def test_rank_0_reads_the_reduced_gradient(tmp_path: Path, kind: str) -> None:
    """Whether gradients are copies of the buckets that are reduced, or views of them."""
    programs = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.gyrostat.watching.rank",
                str(rank),
                str(tmp_path / "meet"),
                str(tmp_path / kind),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    printed = [program.communicate(timeout=120)[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0]
    parts, norms = zip(*json.loads(printed[0]), strict=True)
    (folder,) = folders(tmp_path / kind)
    left = left_in(folder)
    assert left.scalars("gradient.global_norm") == pytest.approx(dict(enumerate(norms, start=1)), rel=1e-5)
    assert left.scalars("gradient.clipped_norm") == pytest.approx(dict.fromkeys(range(1, 5), 0.01), rel=1e-3)
    # of 4 micro-batches of 6 samples one is seen by itself; losses were added up, so that one is half of two
    noise = [((2 * part) ** 2 - norm**2) / (1 / 6 - 1 / 24) for part, norm in zip(parts, norms, strict=True)]
    assert left.scalars("gradient.noise_trace") == pytest.approx(dict(enumerate(noise, start=1)), rel=1e-4)
    assert left.layouts[-1].axes["parameter"][0] == "0.weight"
    assert left.layouts[-1].axes["module"]
    assert len(left.logged()) == 1
