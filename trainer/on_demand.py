"""Measurements that somebody asks for while a training runs: made between two steps, and whatever comes of it told."""

import time
from collections.abc import Callable
from typing import Any

from gyrostat.probes.on_demand import measure
from gyrostat.probes.session import ProbeSession
from gyrostat.wire.measurements import MAX_ERROR, Order


class NobodyWaits(Exception):
    """The training shall end."""


def carried_out(order: Order, probes: ProbeSession, *, is_over: Callable[[], bool]) -> dict[str, Any]:
    """The report of `order` (`gyrostat.wire.measurements.Report`), with values or with the error; never raises.

    `is_over`: whether the training shall end, which a measurement must not hold up for longer than one pass through the
    network.
    """

    def check() -> None:
        if is_over():
            raise NobodyWaits("the training was asked to end before it was measured")

    began = time.perf_counter()
    outcome: dict[str, Any]
    try:
        found = probes.aside(lambda network: measure(order.settings, network, check))
        outcome = {"samples": found.samples, "values": found.values.model_dump(mode="json")}
    except NobodyWaits as error:
        outcome = {"error": str(error)}
    except Exception as error:  # whatever it is, no measurement may end a training
        outcome = {"error": _printable(f"{type(error).__name__}: {error}")[:MAX_ERROR]}
    seconds = time.perf_counter() - began
    return {"id": order.id, "settings": order.settings.model_dump(mode="json"), "seconds": seconds, **outcome}


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)
