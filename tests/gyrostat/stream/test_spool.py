import os
import subprocess
import sys
from pathlib import Path

import pytest

from gyrostat.stream.segments import HEADER_BYTES, Kind
from gyrostat.stream.spool import Spool, SpoolFull, SpoolInUse
from tests.gyrostat.backend import ROOT


def body(sequence: int) -> bytes:
    return f"message {sequence} ".encode() * 3


def filled(folder: Path, count: int, **settings: int) -> Spool:
    spool = Spool(folder, **settings)
    for _ in range(count):
        spool.append(Kind.FRAMES, body)
    return spool


def sequences(spool: Spool) -> list[int]:
    found = []
    for record in spool.unsent():
        assert record.payload == body(record.sequence)
        found.append(record.sequence)
    return found


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def test_records_come_out_in_order_with_their_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "spool")
    assert spool.append(Kind.LAYOUT, body) == 1
    assert spool.append(Kind.EVENTS, body) == 2
    assert [(record.kind, record.sequence) for record in spool.unsent()] == [(Kind.LAYOUT, 1), (Kind.EVENTS, 2)]
    assert spool.settled == 0
    spool.close()


def test_settled_records_do_not_come_again_and_their_files_go(tmp_path: Path) -> None:
    spool = filled(tmp_path, 30, segment_bytes=200)
    before = len(segments(tmp_path))
    for record in spool.unsent():
        if record.sequence <= 20:
            spool.settle(record.sequence)
    assert sequences(spool) == list(range(21, 31))
    assert spool.settled == 20
    assert len(segments(tmp_path)) < before / 2
    for record in spool.unsent():
        spool.settle(record.sequence)
    assert sequences(spool) == []
    assert spool.settled == spool.last_sequence == 30
    spool.close()
    assert segments(tmp_path) == []


def test_a_reader_that_keeps_up_sees_what_is_appended_over_many_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=100)
    seen = []
    for expected in range(1, 40):
        spool.append(Kind.FRAMES, body)
        for record in spool.unsent():
            seen.append(record.sequence)
            spool.settle(record.sequence)
        assert seen[-1] == expected
    assert seen == list(range(1, 40))
    assert len(segments(tmp_path)) == 1
    spool.close()


def test_numbers_go_on_after_a_restart_even_when_everything_was_settled(tmp_path: Path) -> None:
    spool = filled(tmp_path, 5)
    producer = spool.producer(3)
    for record in spool.unsent():
        spool.settle(record.sequence)
    spool.close()
    again = Spool(tmp_path)
    assert again.producer(7) == producer
    assert producer.startswith("3-")
    assert sequences(again) == []
    assert again.append(Kind.FRAMES, body) == 6
    again.close()


def test_a_later_process_reads_what_is_left_and_only_that(tmp_path: Path) -> None:
    spool = filled(tmp_path, 12, segment_bytes=150)
    for record in spool.unsent():
        if record.sequence <= 7:
            spool.settle(record.sequence)
    spool.close()
    again = Spool(tmp_path, segment_bytes=150)
    assert sequences(again) == [8, 9, 10, 11, 12]
    assert again.append(Kind.FRAMES, body) == 13
    assert again.damaged == 0
    again.close()


def test_without_any_trace_of_earlier_numbers_the_producer_is_a_new_one(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    first = spool.producer(1)
    for record in spool.unsent():
        spool.settle(record.sequence)
    spool.close()
    (tmp_path / "cursor").write_text("garbage")
    again = Spool(tmp_path)
    assert again.damaged == 1
    assert again.append(Kind.FRAMES, body) == 1
    assert again.producer(1) != first
    again.close()


def test_a_lost_cursor_sends_again_rather_than_not_at_all(tmp_path: Path) -> None:
    spool = filled(tmp_path, 4)
    spool.settle(2)
    spool.close()
    (tmp_path / "cursor").write_text("2 00000000\n")
    again = Spool(tmp_path)
    assert sequences(again) == [1, 2, 3, 4]
    assert again.append(Kind.FRAMES, body) == 5
    again.close()


@pytest.mark.parametrize("cut", range(1, HEADER_BYTES + len(body(3)) + 1))
def test_cut_at_any_byte_of_its_last_record_the_rest_is_recovered(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, 3).close()
    (file,) = segments(tmp_path)
    os.truncate(file, file.stat().st_size - cut)
    spool = Spool(tmp_path)
    assert sequences(spool) == [1, 2]
    assert spool.damaged == (0 if cut == HEADER_BYTES + len(body(3)) else 1)
    # Never sent, since it was not whole on the disk: its number is free.
    assert spool.append(Kind.FRAMES, body) == 3
    assert sequences(spool) == [1, 2, 3]
    spool.close()
    again = Spool(tmp_path)
    assert sequences(again) == [1, 2, 3]
    assert again.damaged == 0
    again.close()


@pytest.mark.parametrize("position", range(HEADER_BYTES + len(body(2))))
def test_a_flipped_bit_ends_the_sound_part_and_no_number_is_used_twice(tmp_path: Path, position: int) -> None:
    filled(tmp_path, 3).close()
    (file,) = segments(tmp_path)
    data = bytearray(file.read_bytes())
    size = HEADER_BYTES + len(body(1))
    data[size + position] ^= 0x10
    file.write_bytes(data)
    spool = Spool(tmp_path)
    assert sequences(spool) == [1]
    assert spool.damaged == 1
    if position not in (1, 2, 3):  # a length that has become huge looks like a torn tail
        assert spool.append(Kind.FRAMES, body) > 3
    spool.close()


def test_damage_in_the_middle_loses_that_file_only(tmp_path: Path) -> None:
    spool = filled(tmp_path, 12, segment_bytes=150)
    files = segments(tmp_path)
    assert len(files) == 3
    data = bytearray(files[1].read_bytes())
    data[-1] ^= 1
    files[1].write_bytes(data)
    left = sequences(spool)
    first, following = int(files[1].stem), int(files[2].stem)
    assert left == [n for n in range(1, 13) if n != following - 1]
    assert first < following - 1
    assert spool.damaged == 1
    for record in spool.unsent():
        spool.settle(record.sequence)
    assert spool.settled == 12
    spool.close()
    assert segments(tmp_path) == []


def test_a_file_deleted_by_someone_counts_as_damage(tmp_path: Path) -> None:
    spool = filled(tmp_path, 12, segment_bytes=150)
    files = segments(tmp_path)
    files[0].unlink()
    assert sequences(spool) == list(range(int(files[1].stem), 13))
    assert spool.damaged == 1
    spool.close()


def test_damage_to_the_file_being_written_does_not_stop_writing(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    (file,) = segments(tmp_path)
    with file.open("r+b") as handle:
        handle.seek(-1, os.SEEK_END)
        handle.write(b"\xff")
    assert sequences(spool) == [1, 2]
    assert spool.append(Kind.FRAMES, body) == 4
    assert sequences(spool) == [1, 2, 4]
    spool.close()


def test_garbage_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.spool").write_text("mine")
    (tmp_path / "00000000000000000001.spool").write_bytes(b"")
    spool = Spool(tmp_path)
    assert spool.append(Kind.FRAMES, body) == 1
    assert sequences(spool) == [1]
    spool.close()
    assert (tmp_path / "notes.spool").exists()


def test_at_the_limit_frames_are_refused_and_events_are_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=1000)
    while spool.size <= 1000 - HEADER_BYTES - len(body(100)):
        spool.append(Kind.FRAMES, body)
    with pytest.raises(SpoolFull, match="1000 bytes"):
        spool.append(Kind.FRAMES, body)
    full_at = spool.last_sequence
    assert spool.size <= 1000
    assert spool.append(Kind.EVENTS, body) == full_at + 1
    assert spool.append(Kind.LAYOUT, body) == full_at + 2
    with pytest.raises(SpoolFull):
        spool.append(Kind.FRAMES, body)
    for record in spool.unsent():
        spool.settle(record.sequence)
    assert spool.append(Kind.FRAMES, body) == full_at + 3
    assert sequences(spool) == [full_at + 3]
    spool.close()


def test_a_spool_has_one_owner_at_a_time(tmp_path: Path) -> None:
    spool = filled(tmp_path, 1)
    with pytest.raises(SpoolInUse, match="another"):
        Spool(tmp_path)
    code = "import sys; from pathlib import Path; from gyrostat.stream.spool import Spool; Spool(Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert "SpoolInUse" in other.stderr
    spool.close()
    spool.close()
    Spool(tmp_path).close()


def test_a_closed_spool_takes_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path, 1)
    spool.close()
    with pytest.raises(OSError, match="closed"):
        spool.append(Kind.FRAMES, body)


DISK_LIMITED = """
import resource, sys
from pathlib import Path
from gyrostat.stream.segments import Kind
from gyrostat.stream.spool import Spool

spool = Spool(Path(sys.argv[1]))
payload = lambda sequence: bytes([sequence]) * 1000
for _ in range(3):
    spool.append(Kind.FRAMES, payload)
resource.setrlimit(resource.RLIMIT_FSIZE, (3600, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        spool.append(Kind.FRAMES, payload)
    except OSError as error:
        print(type(error).__name__, error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(spool.append(Kind.FRAMES, payload))
print([(record.sequence, record.payload == payload(record.sequence)) for record in spool.unsent()])
spool.close()
"""


def test_a_write_that_fails_half_way_leaves_no_trace_and_a_later_one_succeeds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DISK_LIMITED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["OSError 27", "OSError 27", "4", "[(1, True), (2, True), (3, True), (4, True)]"]
    spool = Spool(tmp_path)
    assert [record.sequence for record in spool.unsent()] == [1, 2, 3, 4]
    assert spool.damaged == 0
    spool.close()
