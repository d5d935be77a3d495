"""What can be said of a process that died without saying it itself."""

import os
import signal
from pathlib import Path

OUTPUT_BYTES = 65_536
"""How much of what a dead training printed is kept for its report."""


def cause_of_death(code: int) -> str:
    """What an exit status, negative for a signal, says about a process that did not report its end."""
    if code >= 0:
        return f"the training process ended with exit code {code} and did not say why; what it printed last is below"
    why: dict[int, str] = {
        signal.SIGKILL: "somebody killed it, or the system was out of memory (see the kernel's log)",
        signal.SIGSEGV: "native code read or wrote where it must not; what it ran is below",
        signal.SIGABRT: "native code gave up; its message is below",
        signal.SIGBUS: "a file that was mapped into memory was cut short, or the disk is full",
        signal.SIGILL: "native code was built for another processor",
    }
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"the training process was ended by {name}: {why.get(-code, 'it was told to end from outside')}"


def last_of(path: Path, size: int = OUTPUT_BYTES) -> str:
    """The last `size` bytes of a file as text, from the start of a line; empty where there is no file."""
    try:
        with path.open("rb") as file:
            whole = file.seek(0, os.SEEK_END)
            file.seek(max(0, whole - size))
            read = file.read(size)
    except FileNotFoundError:
        return ""
    if whole > size:
        read = read.partition(b"\n")[2] or read
    return read.decode(errors="replace")
