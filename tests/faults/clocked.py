"""`python -m app serve` with a clock that can be put wrong: by the seconds in the file `clock` of the data folder."""

import argparse
import sys
from datetime import datetime, timedelta
from pathlib import Path

from app.__main__ import make_server
from app.deps import utc_now
from app.settings import AppSettings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    wrong = options.data / "clock"

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=float(wrong.read_text()) if wrong.exists() else 0.0)

    server = make_server(AppSettings(**vars(options)), clock=clock)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
