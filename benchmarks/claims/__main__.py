"""`make claims`: every study, through the service; writes docs/claims.md, its figures, and what the catalogue shows.

A study that cannot be carried out is told with its traceback, and the others go on; the page is then left as it was.
With `--data`, studies that were cut go on from the runs that are in the folder.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from benchmarks.claims import studies  # noqa: F401  (each registers its studies)
from benchmarks.claims.page import Outcome, write
from benchmarks.claims.service import Runs, serving
from benchmarks.claims.study import STUDIES, Study, judged, overall


def main(argv: list[str] | None = None) -> int:
    """Runs the studies; the status is 0 whatever their verdicts are, since a claim that fails is a result.

    It is 1 where a study could not be carried out.
    """
    options = _options(argv)
    torch.set_num_threads(1)
    began = time.monotonic()
    chosen = [build() for name, build in STUDIES.items() if not options.only or name in options.only]
    folder = Path(options.data or tempfile.mkdtemp(prefix="gyrostat-claims-"))
    with serving(folder, slots=options.slots) as client:
        runs = Runs(client, folder / "checkpoints")
        for one in chosen:
            for seed in range(one.seeds):
                for arm in one.arms:
                    runs.start(one.documents(arm, seed), one.id)
        print(f"{len(chosen)} studies, {runs.count} runs", flush=True)
        tried = [_tried(one, runs, began) for one in chosen]
    outcomes = [outcome for outcome in tried if outcome is not None]
    broken = len(tried) - len(outcomes)
    minutes = _altogether(folder, (time.monotonic() - began) / 60)
    write(outcomes, runs=runs.count, minutes=minutes, docs=Path(options.docs), whole=not options.only and not broken)
    print(f"{runs.count} runs in {minutes:.1f} minutes; {broken} studies could not be carried out")
    return 1 if broken else 0


def _altogether(folder: Path, minutes: float) -> float:
    """Minutes of this start and of those before it that were cut, which the folder remembers."""
    file = folder / "claims-minutes"
    total = minutes + (float(file.read_text()) if file.exists() else 0.0)
    file.write_text(str(total))
    return total


def _tried(one: Study, runs: Runs, began: float) -> Outcome | None:
    """What came of the study; None, with its traceback on stderr, where it could not be carried out."""
    try:
        return _carried_out(one, runs, began)
    except Exception:
        print(f"study {one.id} could not be carried out:", file=sys.stderr)
        traceback.print_exc()
        return None


def _carried_out(one: Study, runs: Runs, began: float) -> Outcome:
    arms = {
        (arm, seed): [runs.ended(document) for document in one.documents(arm, seed)]
        for seed in range(one.seeds)
        for arm in one.arms
    }
    verdicts = []
    for statement in one.statements:
        numbers = {
            arm: [statement.measure(arms[arm, seed]) for seed in range(one.seeds)]
            for arm in (statement.on, statement.off)
            if arm is not None
        }
        verdicts.append(judged(statement, numbers))
        last = verdicts[-1]
        effect = f"{last.effect:.3g} [{last.low:.3g}, {last.high:.3g}]"
        print(f"{time.monotonic() - began:6.0f} s  {one.id}: {last.decision}: {effect}  {statement.text}", flush=True)
    return Outcome(study=one, decision=overall(verdicts), verdicts=verdicts)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="STUDY", choices=[*STUDIES, []], help="their ids")
    parser.add_argument("--slots", type=int, default=2, help="trainings at once (default 2)")
    parser.add_argument("--docs", default="docs", help="folder of claims.md and claims/ (default docs)")
    parser.add_argument("--data", help="folder of the service; a temporary one by default")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
