"""What a segment takes, it gives back, before and after it is gathered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.volume.recent import Recent
from backends.volume.segment import TOUCH, Segment
from backends.volume.units import FRAME, FRAME_SECTORS, SECTOR
from backends.volume.values import DATA, HOLE, ZERO, index, kind, marked

SECTORS = 96

changes = st.lists(
    st.tuples(
        st.sampled_from(["write", "hole", "zero"]),
        st.integers(0, SECTORS - 1),
        st.integers(1, 20),
    ),
    max_size=40,
)


@given(changes)
def test_gathering_keeps_every_sector_that_counts(steps):
    """A dict of sectors is the model; the object's extents are sorted and as few as can be."""
    recent = Recent()
    model = {}
    for number, (what, start, length) in enumerate(steps):
        end = min(start + length, SECTORS)
        if what == "write":
            fill = bytes([number + 1]) * SECTOR
            recent.write(start, fill * (end - start))
        else:
            fill = HOLE if what == "hole" else ZERO
            recent.mark(start, end, fill)
        model.update(dict.fromkeys(range(start, end), fill))
    assert recent.held == recent.open.cost
    segment, live = recent.seal()
    assert segment.touches <= len(steps) and segment.cost == segment.taken + TOUCH * segment.touches
    for gathered in (False, True):
        if gathered:
            segment.gather(live)
        for start, end, value in recent.overlay.runs(0, SECTORS):
            for sector in range(start, end):
                said = model.get(sector)
                if said is None:
                    assert value == 0
                elif isinstance(said, bytes):
                    assert segment.read(value + sector - start, 1) == said
                    # A run may be read from anywhere inside.
                    assert segment.read(value + sector - start, end - sector)[:SECTOR] == said
                else:
                    assert kind(value) == said and index(value) == segment.id
    plain = b"".join(segment.plain)
    described = {}
    last = -1
    for start, length, state, where in segment.extents:
        assert start >= last
        last = start + length
        for sector in range(length):
            at = (where + sector) * SECTOR
            described[start + sector] = plain[at : at + SECTOR] if state == DATA else state
    assert described == model
    assert len(plain) == SECTOR * sum(isinstance(one, bytes) for one in model.values())
    assert len(segment.extents) <= 2 * segment.touches


def test_what_was_read_before_does_not_change_with_the_buffer():
    """A reader keeps its view while writes go on."""
    segment = Segment(1)
    value = segment.append(0, b"a" * SECTOR)
    view = segment.read(value, 1)
    segment.overwrite(value, b"b" * SECTOR)
    segment.append(1, b"c" * SECTOR)
    assert view == b"a" * SECTOR
    assert segment.read(value, 1) == b"b" * SECTOR


def test_payloads_are_copied():
    """The caller uses its buffer again once it was answered."""
    segment = Segment(1)
    payload = bytearray(b"a" * SECTOR)
    value = segment.append(0, memoryview(payload))
    payload[:] = b"b" * SECTOR
    assert segment.read(value, 1) == b"a" * SECTOR


def test_what_was_gathered_is_read_across_its_frames():
    """In the object's order, not in that of the writes."""
    recent = Recent()
    data = bytes(range(256)) * (3 * FRAME // 256)
    for start in (FRAME_SECTORS * 3 // 2, 0):
        at = start * SECTOR
        recent.write(start, data[at : at + FRAME * 3 // 2])
    segment, live = recent.seal()
    values = [value for _, _, value in recent.overlay.runs(0, FRAME_SECTORS * 3)]
    segment.gather(live)
    assert b"".join(segment.plain) == data and [len(one) for one in segment.plain] == [FRAME] * 3
    assert segment.read(values[0], FRAME_SECTORS * 3 // 2) == data[: FRAME * 3 // 2]
    assert segment.read(values[1] + 1, FRAME_SECTORS) == data[FRAME * 3 // 2 + SECTOR :][:FRAME]


def test_marks_cost_no_bytes_but_are_counted():
    segment = Segment(7)
    assert segment.mark(0, 1 << 40, HOLE) == marked(HOLE, 7)
    assert (segment.taken, segment.touches, segment.cost) == (0, 1, TOUCH)


def test_only_what_is_its_own_is_gathered():
    """What another segment has painted over is gone from this one."""
    recent = Recent()
    recent.write(0, b"a" * SECTOR * 8)
    first, live = recent.seal()
    recent.write(2, b"b" * SECTOR * 2)
    second, others = recent.seal()
    first.gather(live)
    second.gather(others)
    assert [tuple(extent) for extent in first.extents] == [(0, 8, DATA, 0)]
    assert [tuple(extent) for extent in second.extents] == [(2, 2, DATA, 0)]
    assert [index(run[2]) for run in recent.overlay.runs(0, 8)] == [1, 2, 1]
