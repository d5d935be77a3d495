"""`gyrostat doctor`: self-tests that need nothing but this installation."""

import argparse
import json

HELP = "Compare what the probes measure with the slow, obvious way, in every precision, with micro-batches and ranks."


def configure(parser: argparse.ArgumentParser) -> None:
    """What to examine, and how to tell."""
    parser.add_argument("what", choices=["probes"])
    parser.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    parser.add_argument("--mode", action="append", help="one of fp32, bf16, fp16, accumulation, ddp (default: all)")


def run(options: argparse.Namespace) -> int:
    """Prints the table; 1 where a value is wrong."""
    from gyrostat.doctor import probes

    rows = probes.examine(options.mode) if options.mode else probes.examine()
    if options.json:
        print(json.dumps(probes.as_json(rows), indent=1))
    else:
        print(probes.table(rows))
        wrong = sum(row.verdict == "wrong" for row in rows)
        print(f"\n{len(rows)} rows, {wrong} wrong")
    return 0 if probes.is_right(rows) else 1
