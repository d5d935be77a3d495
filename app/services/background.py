"""A thread of the service's own, beside those that answer requests."""

import threading
from collections.abc import Callable


class Background:
    """Takes one turn after another from `start` to `stop`.

    Args:
        name: of the thread.
        turn: one turn; answers how many seconds to pause before the next. What it raises ends the thread.
        pause: seconds before the first turn.
    """

    def __init__(self, name: str, turn: Callable[[], float], *, pause: float = 0.0) -> None:
        self._turn, self._pause = turn, pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the turn at hand; returns when the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._pause
        while not self._stopping.wait(pause):
            pause = self._turn()
