"""How the C library keeps memory that was freed, for a process that makes answers of a megabyte from many threads.

By itself glibc gives large pieces back to the system at once and has the next answer fault them in again, page by page,
which takes as long as all else that a chart needs; and it keeps an arena for each few threads, each with its own
leftovers.
"""

import ctypes

# of malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
KEPT_BYTES = 32 << 20
"""At the end of an arena; larger pieces than that, too, are given back as soon as they are free."""
ARENAS = 2


def keep_freed_memory() -> bool:
    """Sets it up, before the first thread begins; False where the C library is another one, which does as it does."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # macOS and musl have none
        return False
    chosen = {_TRIM_THRESHOLD: KEPT_BYTES, _MMAP_THRESHOLD: KEPT_BYTES, _ARENA_MAX: ARENAS}
    accepted = [mallopt(option, value) == 1 for option, value in chosen.items()]
    return all(accepted)
