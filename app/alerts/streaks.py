"""For each name of an axis: in how many evaluations in a row something held."""

import msgspec
import numpy as np
import numpy.typing as npt


class Streaks(msgspec.Struct):
    """Counts as bytes, so that thousands of layers cost one array and a small state."""

    counts: bytes = b""
    starts: bytes = b""

    def extend(
        self, holds: npt.NDArray[np.bool_], step: int, judged: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int32]:
        """Counts one evaluation in, and returns the length of each name's streak.

        Args:
            holds: (names,) where it held.
            step: of the evaluation.
            judged: (names,) where it could be judged at all; other counts stay. None for everywhere.
        """
        counts = np.frombuffer(self.counts, dtype=np.int32)
        starts = np.frombuffer(self.starts, dtype=np.int64)
        if len(counts) != len(holds):
            if not holds.any():
                self.counts = self.starts = b""
                return np.zeros(len(holds), dtype=np.int32)
            counts, starts = np.zeros(len(holds), dtype=np.int32), np.zeros(len(holds), dtype=np.int64)
        longer = np.where(holds, np.minimum(counts + 1, 1_000_000), 0).astype(np.int32)
        begun = np.where(longer == 1, step, starts)
        if judged is not None:
            longer, begun = np.where(judged, longer, counts), np.where(judged, begun, starts)
        self.counts, self.starts = longer.tobytes(), begun.tobytes()
        return longer

    def first_step(self, where: npt.NDArray[np.bool_]) -> int | None:
        """The earliest step at which one of the streaks of `where` began."""
        if not where.any() or not self.starts:
            return None
        return int(np.frombuffer(self.starts, dtype=np.int64)[where].min())
