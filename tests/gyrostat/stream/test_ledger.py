from gyrostat.stream.ledger import MAX_REASONS, Books, Count


def test_every_move_keeps_the_books_balanced() -> None:
    books = Books()
    books.inherited(Count(2, 20))
    for _ in range(6):
        books.produced(Count(1, 10))
        assert books.now().balanced
    books.spooled(Count(4, 40))
    books.dropped(Count(1, 10), "queue_full")
    books.acknowledged(Count(2, 20), duplicate=True)
    books.acknowledged(Count(2, 20), duplicate=False)
    books.rejected(Count(1, 10), "steps must rise", is_frames=True)
    ledger = books.now()
    assert ledger.balanced
    assert ledger.queued == Count(1, 10)
    assert ledger.spooled == Count(1, 10)
    assert ledger.lost == Count(2, 20)
    assert ledger.dropped == {"queue_full": Count(1, 10)}
    assert ledger.rejected == {"steps must rise": Count(1, 10)}


def test_what_damage_took_from_the_spool_is_counted_as_dropped() -> None:
    books = Books()
    books.inherited(Count(5, 50))
    books.damaged(spooled=Count(3, 30), places=1)
    assert books.now().dropped == {"spool_damaged": Count(2, 20)}
    assert books.now().balanced
    assert books.now().damaged == 1


def test_a_server_that_words_each_refusal_anew_does_not_fill_the_memory() -> None:
    books = Books()
    for step in range(1000):
        books.produced(Count(1, 1))
        books.spooled(Count(1, 1))
        books.rejected(Count(1, 1), f"step {step} is wrong", is_frames=True)
    assert len(books.now().rejected) == MAX_REASONS + 1
    assert books.now().rejected["other"].frames == 1000 - MAX_REASONS
    assert books.now().balanced


def test_a_refused_event_is_a_message_and_no_frame() -> None:
    books = Books()
    books.rejected(Count(), "unknown kind", is_frames=False)
    books.message_dropped()
    assert books.now().rejected_messages == 1
    assert books.now().dropped_messages == 1
    assert books.now().lost == Count()
    assert books.now().balanced
