"""For each name of an axis: in how many evaluations in a row something held."""

import msgspec
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Streaks(msgspec.Struct):
    """Counts as bytes, so that thousands of layers cost one array and a small state."""

    counts: bytes = b""
    starts: bytes = b""

    def extend(self, holds: Mask, step: int, judged: Mask) -> npt.NDArray[np.int32]:
        """Counts one evaluation in, and returns the length of each name's streak.

        Args:
            holds: (names,) where it held.
            step: of the evaluation.
            judged: (names,) where it could be judged at all; other streaks stay.
        """
        counts, starts = self._arrays(len(holds))
        if not (holds.any() or counts.any()):
            self.counts = self.starts = b""
            return counts
        longer = np.where(holds, np.minimum(counts + 1, 1_000_000), 0).astype(np.int32)
        begun = np.where(longer == 1, step, starts)
        longer, begun = np.where(judged, longer, counts), np.where(judged, begun, starts)
        self.counts, self.starts = longer.tobytes(), begun.tobytes()
        return longer

    def lasting(self, names: int, step: int, *, evaluations: int, steps: int) -> Mask:
        """(names,) where a streak has lasted for so many evaluations and so many steps."""
        counts, starts = self._arrays(names)
        mask: Mask = (counts >= evaluations) & (step - starts >= steps)
        return mask

    def first_step(self, where: Mask) -> int | None:
        """The earliest step at which one of the streaks of `where` began."""
        _, starts = self._arrays(len(where))
        return int(starts[where].min()) if where.any() else None

    def _arrays(self, names: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        counts = np.frombuffer(self.counts, dtype=np.int32)
        if len(counts) != names:
            return np.zeros(names, dtype=np.int32), np.zeros(names, dtype=np.int64)
        return counts, np.frombuffer(self.starts, dtype=np.int64)
