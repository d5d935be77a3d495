import numpy as np

from app.series import Rows
from app.storage.blocks import LevelBlock
from app.storage.remembered import Remembered

SHAPE = (1000, 100)
VARIED = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
PLANE_BYTES = VARIED.nbytes


def _block(**planes: np.ndarray) -> LevelBlock:
    steps = np.arange(SHAPE[0], dtype=np.int64)
    counts = np.ones(SHAPE[0], dtype=np.uint32)
    rows = Rows(first=steps, last=steps, counts=counts, planes=planes)
    return LevelBlock(rows=rows, child=steps, offset=counts)


def test_planes_that_come_one_after_the_other_are_kept_together() -> None:
    remembered = Remembered()
    remembered.put(1, _block(maximum=VARIED), is_raw=False)
    whole = remembered.put(1, _block(minimum=-VARIED), is_raw=False)
    assert {*whole.rows.planes} == {"maximum", "minimum"}
    assert remembered.get(1) is whole
    assert remembered.get(2) is None


def test_a_plane_of_one_number_takes_the_room_of_one_and_others_theirs() -> None:
    zeros, signs = np.zeros(SHAPE, np.uint32), np.where(VARIED < 0, np.float32(-0.0), np.float32(0.0))
    remembered = Remembered(coarse_bytes=PLANE_BYTES)
    kept = remembered.put(1, _block(nonfinite=zeros, finite=zeros + 1), is_raw=False)
    assert remembered.get(1) is kept
    assert (kept.rows.planes["finite"] == 1).all()
    assert kept.rows.planes["nonfinite"].shape == SHAPE
    kept = remembered.put(2, _block(final=signs), is_raw=False)  # equal numbers, but not the same bits
    assert remembered.get(2) is None
    assert kept.rows.planes["final"].tobytes() == signs.tobytes()


def test_rows_as_measured_have_room_of_their_own() -> None:
    remembered = Remembered(coarse_bytes=3 * PLANE_BYTES, raw_bytes=2 * PLANE_BYTES)
    for block_id in (1, 2, 3):
        remembered.put(block_id, _block(final=VARIED), is_raw=True)
    remembered.put(4, _block(maximum=VARIED), is_raw=False)
    assert [block_id for block_id in (1, 2, 3, 4) if remembered.get(block_id)] == [3, 4]


def test_a_block_is_asked_for_again_from_the_second_time_on() -> None:
    remembered = Remembered()
    assert [remembered.is_asked_again(7) for _ in range(3)] == [False, True, True]
    remembered.put(8, _block(final=VARIED), is_raw=True)
    assert remembered.is_asked_again(8)
