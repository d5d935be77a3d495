"""`gyrostat doctor`: whether this installation can work, and whether the probes measure what they say."""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from gyrostat.stream.transport import DEFAULT_SERVER

HELP = "Check this installation and its backend; or compare the probes' values with the slow, obvious way."


def configure(parser: argparse.ArgumentParser) -> None:
    """What to examine, and how to tell."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=["installation", "probes"],
        default="installation",
        help="the installation (default), or the probes in every precision, with micro-batches and ranks",
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    parser.add_argument("--mode", action="append", help="probes: one of fp32, bf16, fp16, accumulation, ddp (all)")
    parser.add_argument("--server", help="address of the backend (default: GYROSTAT_SERVER, or the local one)")
    parser.add_argument("--token", help="with scope read (default: GYROSTAT_TOKEN)")
    parser.add_argument("--data", type=Path, default=Path("var"), help="folder that is written to (default: var)")


def run(options: argparse.Namespace) -> int:
    """Prints the findings; 1 where something fails or a value is wrong."""
    return _probes(options) if options.what == "probes" else _installation(options)


def _installation(options: argparse.Namespace) -> int:
    from gyrostat.doctor import installation

    server = options.server or os.environ.get("GYROSTAT_SERVER") or DEFAULT_SERVER
    token = options.token or os.environ.get("GYROSTAT_TOKEN")
    findings = list(installation.examine(server=server, token=token, data=options.data))
    print(json.dumps([asdict(f) for f in findings], indent=1) if options.json else installation.table(findings))
    return 1 if any(found.verdict == "fail" for found in findings) else 0


def _probes(options: argparse.Namespace) -> int:
    from gyrostat.doctor import probes

    rows = probes.examine(options.mode) if options.mode else probes.examine()
    if options.json:
        print(json.dumps(probes.as_json(rows), indent=1))
    else:
        print(probes.table(rows))
        wrong = sum(row.verdict == "wrong" for row in rows)
        print(f"\n{len(rows)} rows, {wrong} wrong")
    return 0 if probes.is_right(rows) else 1
