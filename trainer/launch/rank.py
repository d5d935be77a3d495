"""The process of one of several ranks: `python -m trainer.launch.rank SUPERVISOR FOLDER`, started by `elastic`.

SUPERVISOR is the process id that it must not outlive. In FOLDER is the socket on which the supervisor gives it the job;
rank 0 then hears requests and sends reports there, as a training of one rank does by its pipes. Which rank it is,
torch's launcher says in RANK and WORLD_SIZE.
"""

import faulthandler
import json
import os
import signal
import socket
import sys
from pathlib import Path

from trainer.launch.process import die_with_parent

SOCKET, STORE = "supervisor", "ranks"
FAILED = 1


def main() -> None:
    """Takes part in the supervisor's training, and leaves with it."""
    # the thread that crashed, alone: the others run on while they are read, and a torn frame would end the report early
    faulthandler.enable(all_threads=False)
    die_with_parent(int(sys.argv[1]))
    # rank 0 will take it as a request, and the others follow; whoever hangs is killed a little later
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder, rank, size = Path(sys.argv[2]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(folder / SOCKET))
    connection.sendall(json.dumps({"rank": rank}).encode() + b"\n")
    # only now, after what ends this process in time: torch takes seconds to load
    from trainer.launch.training import take_part

    well = take_part(rank, size, connection.makefile("rb"), connection.fileno(), store=folder / STORE)
    # not `return`: threads of native libraries may hang an orderly exit, and nothing is left to be done
    os._exit(0 if well else FAILED)


if __name__ == "__main__":
    main()
