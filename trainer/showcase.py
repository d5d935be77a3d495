"""Shows what a generative model makes: an event with a small picture, at validation steps."""

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gyrostat.probes.session import Sink
from gyrostat.wire import png


@dataclass(frozen=True, eq=False)
class Picture:
    """Samples to show: `pixels` as `gyrostat.wire.png.encode` takes them, `caption` what they are, in words."""

    pixels: NDArray[np.uint8]
    caption: str


def show(picture: Picture | None, stream: Sink, step: int) -> None:
    """Streams the picture of step `step`, where there is one."""
    if picture is not None:
        data = base64.b64encode(png.encode(picture.pixels)).decode()
        stream.event("samples", step, {"png": data, "caption": picture.caption})
