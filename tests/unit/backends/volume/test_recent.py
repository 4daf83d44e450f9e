"""The overlay and its segments hold the newest state of what changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.volume.header import Extent
from backends.volume.recent import Recent, StoredSegment
from backends.volume.segment import Segment
from backends.volume.units import SECTOR
from backends.volume.values import ABSENT, DATA, HOLE, ZERO, index, kind, sector

SECTORS = 64


def content(recent):
    """Every sector: bytes, a kind, or None where the stored map decides."""
    found = []
    for start, end, value in recent.overlay.runs(0, SECTORS):
        for offset in range(end - start):
            if kind(value) == DATA:
                segment = recent.segments[index(value)]
                found.append(bytes(segment.read(value + offset, 1)))
            else:
                found.append(None if kind(value) == ABSENT else kind(value))
    return found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "hole", "zero", "seal", "gather", "apply"]),
            st.integers(0, SECTORS - 1),
            st.integers(1, 16),
        ),
        max_size=50,
    )
)
def test_the_newest_change_of_each_sector_counts(steps):
    """Against a list of sectors, with segments sealed, gathered and taken over by the map."""
    recent = Recent()
    model = [None] * SECTORS
    came = [0] * SECTORS  # the segment that a sector was written in last
    sealed = []
    for number, (what, start, length) in enumerate(steps):
        end = min(start + length, SECTORS)
        if what == "write":
            fill = bytes([number + 1]) * SECTOR
            recent.write(start, memoryview(fill * (end - start)))
            model[start:end] = [fill] * (end - start)
            came[start:end] = [recent.open.id] * (end - start)
        elif what in ("hole", "zero"):
            state = HOLE if what == "hole" else ZERO
            recent.mark(start, end, state)
            model[start:end] = [state] * (end - start)
            came[start:end] = [recent.open.id] * (end - start)
        elif what == "seal":
            sealed.append([*recent.seal(), False])
        elif what == "gather":
            for one in sealed:
                if not one[2]:
                    one[0].gather(one[1])
                    one[2] = True
                    break
        elif sealed and sealed[0][2]:
            segment = sealed.pop(0)[0]
            for extent in segment.extents:
                recent.overlay.clear(extent.sector, extent.sector + extent.length, segment.id)
            recent.forget(segment)
            model = [
                None if owner == segment.id else said
                for said, owner in zip(model, came, strict=True)
            ]
        assert content(recent) == model
    assert recent.held == sum(segment.cost for segment in recent.segments.values())


def test_data_of_the_open_segment_is_changed_in_place():
    """A block that is written again and again costs its bytes once."""
    recent = Recent()
    for fill in b"abc":
        recent.write(8, bytes([fill]) * SECTOR * 8)
    recent.write(10, b"d" * SECTOR)
    assert recent.open.taken == 8 * SECTOR and recent.open.touches == 1
    recent.seal()
    recent.write(8, b"e" * SECTOR)
    assert recent.open.taken == SECTOR  # the sealed one is left alone


def test_whether_a_range_is_of_one_kind():
    recent = Recent()
    assert recent.is_all(0, 1 << 40, HOLE) is None
    recent.mark(0, 16, HOLE)
    assert recent.is_all(0, 16, HOLE) is True
    assert recent.is_all(0, 16, ZERO) is False
    assert recent.is_all(0, 17, HOLE) is False
    recent.seal()
    recent.mark(4, 8, HOLE)
    assert recent.is_all(0, 16, HOLE) is True
    recent.write(5, b"x" * SECTOR)
    assert recent.is_all(0, 16, HOLE) is False


def test_recovered_objects_lie_over_each_other_and_under_what_follows():
    recent = Recent()
    recent.recover(7, [Extent(0, 8, DATA, 3)])
    second = recent.recover(9, [Extent(2, 2, HOLE, 0), Extent(6, 4, DATA, 0)])
    recent.write(7, b"x" * SECTOR)
    runs = recent.overlay.runs(0, 12)
    kinds = [(start, end, kind(value)) for start, end, value in runs]
    assert kinds == [
        (0, 2, DATA), (2, 4, HOLE), (4, 6, DATA), (6, 7, DATA), (7, 8, DATA), (8, 10, DATA),
        (10, 12, ABSENT),
    ]  # fmt: skip
    assert [recent.segments[index(value)].slot for *_, value in (runs[0], runs[3])] == [7, 9]
    assert [sector(value) for *_, value in (runs[0], runs[2], runs[3], runs[5])] == [3, 7, 0, 2]
    assert isinstance(recent.segments[index(runs[4][2])], Segment)
    assert isinstance(second, StoredSegment)
    held = recent.held
    recent.forget(second)
    assert recent.held == held and second.id not in recent.segments
