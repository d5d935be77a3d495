import time

from app.storage.recent import Recent


def test_what_was_not_used_for_longest_makes_room():
    recent = Recent[str, bytes](10, len)
    recent.put("a", b"four")
    recent.put("b", b"four")
    assert recent.get("a") == b"four"
    recent.put("c", b"four")
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (b"four", None, b"four")


def test_what_is_larger_than_all_room_is_not_kept():
    recent = Recent[str, bytes](10, len)
    recent.put("a", b"four")
    recent.put("b", b"much too long")
    assert (recent.get("a"), recent.get("b")) == (b"four", None)


def test_what_has_been_kept_for_its_time_is_gone():
    recent = Recent[str, bytes](10, len, seconds=0.05)
    recent.put("a", b"four")
    assert recent.get("a") == b"four"
    time.sleep(0.06)
    assert recent.get("a") is None
