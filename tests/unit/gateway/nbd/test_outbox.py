"""Reply bytes on their way out: order, room, and nothing lost however they are taken."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.nbd.limits import READ_CHUNK
from gateway.nbd.outbox import CAPACITY, FIRST, Outbox
from gateway.nbd.payloads import PayloadMemory


def put(box: Outbox, data: bytes) -> bool:
    position = box.reserve(len(data))
    if position < 0:
        return False
    box.buffer[position : position + len(data)] = data
    box.commit(len(data))
    return True


def take(box: Outbox, count: int) -> bytes:
    """Take up to ``count`` bytes the way a socket does."""
    taken = b"".join(bytes(piece) for piece in box.head())[:count]
    box.taken(len(taken))
    return taken


_steps = st.lists(
    st.tuples(st.just("put"), st.integers(0, 70_000))
    | st.tuples(st.just("append"), st.integers(0, 70_000))
    | st.tuples(st.just("take"), st.integers(1, 200_000)),
    max_size=60,
)


@given(_steps)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_bytes_come_out_as_they_went_in(steps: list[tuple[str, int]]) -> None:
    """
    C6: packed and queued replies leave in order, contiguous, whatever portions the client takes.
    """
    box = Outbox(PayloadMemory())
    sent, came = bytearray(), bytearray()
    for number, (what, count) in enumerate(steps):
        data = bytes([number + 1]) * count
        if what == "take":
            came += take(box, count)
        elif what == "append" or not put(box, data):
            box.append(data[: count // 2], bytearray(data[count // 2 :]))
            sent += data
        else:
            sent += data
        assert box.pending == len(sent) - len(came)
    while box.pending:
        came += take(box, 99_999)
    assert came == sent
    assert box.head() == []
    assert not box.full


def test_room_is_bounded_and_comes_back() -> None:
    """
    C14: what does not fit is refused until everything has been taken.
    """
    box = Outbox(PayloadMemory())
    assert box.reserve(CAPACITY) == FIRST
    assert box.reserve(CAPACITY + 1) == -1
    assert put(box, b"x" * CAPACITY)
    assert box.reserve(1) == -1
    take(box, CAPACITY - 1)
    assert box.reserve(1) == -1
    take(box, 1)
    assert box.reserve(CAPACITY) == FIRST


def test_full_means_that_nothing_more_should_be_served() -> None:
    """
    C14: half a buffer of replies, or a queued payload.
    """
    box = Outbox(PayloadMemory())
    assert put(box, bytes(READ_CHUNK))
    assert not box.full
    assert put(box, b"x")
    assert box.full
    take(box, CAPACITY)
    assert not box.full
    box.append(b"x")
    assert box.full
    take(box, 1)
    assert not box.full


def test_a_chunk_fits_behind_small_replies() -> None:
    """
    C14: as long as the outbox is not full there is room for one chunk with its header.
    """
    box = Outbox(PayloadMemory())
    assert put(box, bytes(READ_CHUNK))
    assert not box.full
    assert box.reserve(READ_CHUNK + 40) >= 0


def test_what_was_reserved_only_is_not_sent() -> None:
    """
    C13: a buffer that storage filled in vain leaves no byte in the stream.
    """
    box = Outbox(PayloadMemory())
    position = box.reserve(10)
    box.buffer[position : position + 10] = b"forget me!"
    assert box.head() == []
    assert put(box, b"real")
    assert take(box, 99) == b"real"


def test_head_gives_few_pieces() -> None:
    """
    As many pieces as one call to the kernel takes, not all there are.
    """
    box = Outbox(PayloadMemory())
    for _ in range(100):
        box.append(b"x")
    assert len(box.head()) == 16
    assert box.pending == 100
