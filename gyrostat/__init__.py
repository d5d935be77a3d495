"""What runs inside anybody's training process, and what both sides of the wire speak.

Importing this package never imports torch: `gyrostat.attach` loads it when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gyrostat.watching import Watch, attach

__all__ = ["Watch", "__version__", "attach"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Watch", "attach"):
        # of no submodule with the name: importing that would put the module in the function's place
        return getattr(importlib.import_module("gyrostat.watching"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
