"""A training process for tests: streams one frame after another until it is killed or has sent enough.

`python -m tests.gyrostat.stream.training FOLDER URL RUN STEPS SECONDS_A_STEP`; an empty URL means no backend.
Prints each step after it was emitted, and the ledger as JSON at the end.
"""

import sys
import time
from pathlib import Path

import msgspec

from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import HttpTransport
from tests.gyrostat.stream.frames import frame, layout


def main(folder: str, url: str, run: str, steps: str, pause: str) -> None:
    stream = Stream(
        spool=Spool(Path(folder)),
        transport=HttpTransport(url) if url else None,
        run=run,
        attempt=1,
        flush_seconds=0.05,
    )
    stream.layout(layout())
    for step in range(1, int(steps) + 1):
        stream.emit(frame(step))
        print(step, flush=True)
        time.sleep(float(pause))
    stream.event("finished", int(steps), {})
    ledger = stream.close()
    print(msgspec.json.encode(ledger).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
