"""`gyrostat sync`: sends what trainings measured while no backend was at hand."""

import argparse
import os
from pathlib import Path

from gyrostat.stream import attached

HELP = "Send what attached trainings measured while no backend took it; whatever was sent before is not sent again."


def configure(parser: argparse.ArgumentParser) -> None:
    """Folders, and where to send them."""
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="of an attached training, or one that holds such folders",
    )
    parser.add_argument("--server", help="address of the backend (default: GYROSTAT_SERVER, or the one attached to)")
    parser.add_argument("--token", help="with scope ingest and run (default: GYROSTAT_TOKEN)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for each training (default: 60)")


def run(options: argparse.Namespace) -> int:
    """Sends one folder after another; 1 where something is left."""
    server = options.server or os.environ.get("GYROSTAT_SERVER")
    token = options.token or os.environ.get("GYROSTAT_TOKEN")
    left = 0
    for folder in _found(options.folders):
        sent = attached.send_folder(folder, server=server, token=token, timeout=options.timeout)
        left += sent.waiting
        print(f"{folder}: {_told(sent)}")
    return 1 if left else 0


def _found(roots: list[Path]) -> list[Path]:
    found = []
    for root in roots:
        if not (folders := attached.folders(root)):
            raise FileNotFoundError(f"{root} holds no attached training; give a folder that gyrostat.attach made")
        found += folders
    return found


def _told(sent: attached.Sent) -> str:
    ledger = sent.ledger
    told = [f"run {sent.run}" if sent.run else "no run made yet", f"{ledger.acknowledged.frames} frames sent"]
    if ledger.duplicate.frames:
        told.append(f"{ledger.duplicate.frames} were there already")
    if ledger.lost.frames:
        told.append(f"{ledger.lost.frames} refused or damaged")
    if sent.waiting:
        told.append(f"{sent.waiting} messages left")
    if sent.refusal is not None:
        told.append(f"the backend takes nothing more of it: {sent.refusal}")
    return ", ".join(told)
