import json
from typing import Any

import pytest
import torch

from gyrostat.commands import main
from gyrostat.doctor import probes
from gyrostat.doctor.modes import MODES
from gyrostat.doctor.references import REFERENCES, WITHOUT
from gyrostat.probes import base
from gyrostat.spec.probes import PROBES

MEASURED = {metric for probe in PROBES.values() for metric in (*probe.metrics, *probe.conditional)}


def test_every_metric_of_a_probe_has_a_reference_or_a_reason_to_have_none() -> None:
    """A new one gets a function in the file of its family in gyrostat/doctor/references, or an entry in `WITHOUT`."""
    assert not MEASURED - REFERENCES.keys() - WITHOUT.keys()
    assert not REFERENCES.keys() - MEASURED, "no probe measures these"
    assert not REFERENCES.keys() & WITHOUT.keys(), "one or the other"
    assert all(len(reason) > 20 for reason in WITHOUT.values())


def test_every_value_is_right_in_every_mode() -> None:
    rows = probes.examine()
    table = probes.table(rows)
    assert probes.is_right(rows), table
    assert {(row.metric, row.mode) for row in rows} == {(metric, mode) for metric in MEASURED for mode in MODES}
    compared = {row.metric for row in rows if row.verdict == "right"}
    assert compared == REFERENCES.keys(), table
    assert all(row.metric in table and row.mode in table for row in rows)


def test_a_value_that_is_wrong_or_missing_is_found_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_backward = base.PROBES["gradients"].after_backward

    def still_scaled(probe: base.Probe) -> base.Readings:
        found: dict[str, Any] = dict(after_backward(probe))
        assert len(found["gradient.norm"]) > 1
        del found["gradient.global_norm"]
        return found | {"gradient.norm": found["gradient.norm"] * 1024}

    after_update = base.PROBES["curvature"].after_update

    def too_sure(probe: base.Probe) -> base.Readings:
        found: dict[str, Any] = dict(after_update(probe))
        shares = {"curvature.trace_error": 1e-3, "curvature.sharpness_error": 100}
        return found | {metric: found[metric] * share for metric, share in shares.items()}

    monkeypatch.setattr(base.PROBES["gradients"], "after_backward", still_scaled)
    monkeypatch.setattr(base.PROBES["curvature"], "after_update", too_sure)
    threads = torch.get_num_threads()
    assert main(["doctor", "probes", "--mode", "fp32", "--json"]) == 1
    assert torch.get_num_threads() == threads
    rows = json.loads(capsys.readouterr().out)
    wrong = {row["metric"]: row for row in rows if row["verdict"] == "wrong"}
    stated = {"curvature.trace", "curvature.trace_error", "curvature.sharpness_error"}
    assert wrong.keys() == {"gradient.norm", "gradient.global_norm", *stated}
    assert wrong["gradient.norm"]["error"] == pytest.approx(1023, rel=1e-3)
    assert wrong["gradient.global_norm"]["error"] == "inf"
    assert all(wrong[metric]["error"] > 0.01 for metric in stated)
    assert main(["doctor", "probes", "--mode", "fp64"]) == 2
    assert "fp32, bf16" in capsys.readouterr().err
