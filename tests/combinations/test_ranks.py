"""Every technique trains on two ranks, which stay in step to the bit: one pair of processes runs them all."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gyrostat.spec.catalogue import STABILIZERS
from tests.combinations.drawing import drawn
from tests.combinations.test_combinations import LEADERS

TWO = {"distributed": {"kind": "ddp", "ranks": 2, "digest_every": 1}, "probes": {"budget": None}}


@pytest.mark.timeout(400)
def test_every_technique_trains_on_two_ranks_that_stay_in_step(tmp_path: Path) -> None:
    documents = {name: drawn(7, holding=name, also=TWO) for name in [*LEADERS, "distributed.ddp"]}
    (tmp_path / "documents.json").write_text(json.dumps(documents))
    logs = [(tmp_path / f"{rank}.log").open("w+") for rank in (0, 1)]
    command = [sys.executable, "-m", "tests.combinations.in_ranks"]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stdout=log, stderr=log) for rank, log in enumerate(logs)
    ]
    while not any(rank.poll() for rank in ranks) and any(rank.poll() is None for rank in ranks):
        time.sleep(0.1)
    for rank in ranks:
        rank.kill()  # the other one waits for the one that died
        rank.wait()
    printed = [(tmp_path / f"{rank}.log").read_text()[-4000:] for rank in (0, 1)]
    for log in logs:
        log.close()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(printed)
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == set(STABILIZERS)
    for name, result in results.items():
        assert result["gap"] == 0.0, f"{name}: the ranks are out of step: {documents[name]}"
        assert result["finite"], f"{name}: {documents[name]}"
