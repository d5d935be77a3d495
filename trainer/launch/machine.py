"""What this machine offers, as JSON on stdout: `python -m trainer.launch.machine DEVICE DATA_ROOT`.

A process of its own, so that the agent tells the backend the truth without holding torch in its memory.
"""

import json
import sys
from pathlib import Path
from typing import Any

from trainer import device
from trainer.data.datasets import available
from trainer.errors import DeviceError


def described(wanted: Any, data_root: Path) -> dict[str, Any]:
    """The device's name and the data sets that can be loaded; or what is wrong."""
    try:
        chosen = device.choose(wanted)
    except DeviceError as error:
        return {"error": str(error)}
    return {"device": device.name(chosen), "datasets": available(data_root)}


if __name__ == "__main__":
    json.dump(described(sys.argv[1], Path(sys.argv[2])), sys.stdout)
