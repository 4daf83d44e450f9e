"""Promises of `backends.volume.victims`: what is worth moving, and what must be left alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.table_page import FREE, NOBODY, Entry, ObjectKind
from backends.volume.victims import Thresholds, victims

FULL = 16384


def entry(birth: int, live: int, sectors: int = FULL, volume: int = 0, **more: Any) -> Entry:
    return Entry(ObjectKind.DATA, volume, 1, birth, sectors, live, sectors * 512, birth, **more)


def table(*entries: Entry) -> list[tuple[int, Entry]]:
    return list(enumerate(entries, 1))


def test_a_disk_that_is_mostly_live_is_left_alone() -> None:
    """Collecting begins below the first share and goes on up to the second."""
    entries = table(*(entry(birth, FULL * 77 // 100) for birth in range(1, 9)))
    assert victims(entries, None, 100) == []
    assert len(victims(entries, None, 100, running=True)) == 8


def test_older_and_emptier_objects_come_first() -> None:
    """Cost and benefit: the emptier of two of an age, the older of two that are as empty."""
    entries = table(
        entry(1, FULL // 2), entry(1, FULL // 4), entry(90, FULL // 2), entry(90, FULL // 4)
    )
    assert victims(entries, None, 100) == [2, 1, 4, 3]


def test_no_round_takes_more_than_it_may() -> None:
    """A round is bounded whatever its reasons."""
    entries = table(*(entry(birth, 1, 8) for birth in range(1, 100)))
    assert len(victims(entries, None, 100)) == 16
    assert len(victims(entries, None, 100, thresholds=Thresholds(round=3))) == 3


def test_what_the_log_or_a_snapshot_needs_is_left_alone() -> None:
    """Newer than the checkpoint, not newer than a snapshot, held, free, or not ours."""
    entries = table(
        entry(10, 1),
        entry(20, 1),
        entry(21, 1),
        entry(50, 1),
        entry(51, 1),
        entry(30, 0, held_by=4),
        entry(30, 0, held_by=FREE),
        entry(30, 1, volume=1),
    )
    assert sorted(victims(entries, 20, 50)) == [3, 4]


def test_small_objects_are_merged_when_there_are_many() -> None:
    """Every flush makes an object; the oldest go together into one."""
    few = table(*(entry(birth, 16, 16) for birth in range(1, 65)))
    assert victims(few, None, 100) == []
    many = table(*(entry(birth, 16, 16) for birth in range(1, 66)))
    assert victims(many, None, 100) == list(range(1, 17))


def test_holes_wait_until_they_are_many_or_hide_nothing() -> None:
    """What only carries holes costs a request to carry on, unless nothing older is left."""
    data = entry(5, FULL)
    carriers = [entry(birth, 0, 0, carries=True) for birth in range(6, 71)]
    assert victims(table(data, *carriers[:64]), None, 100) == []
    assert victims(table(data, *carriers), None, 100) == list(range(2, 18))
    assert victims(table(entry(6, FULL), entry(5, 0, 0, carries=True)), None, 100) == [2]
    # Dead data hides as well, until it is deleted.
    assert victims(table(entry(5, 0, held_by=FREE), carriers[0]), None, 100) == []


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.builds(
            lambda birth, sectors, share, carries, held: entry(
                birth, sectors * share // 10, sectors, carries=carries, held_by=held
            ),
            st.integers(1, 40),
            st.sampled_from([0, 8, 2048, FULL]),
            st.integers(0, 10),
            st.booleans(),
            st.sampled_from([NOBODY, NOBODY, 3, FREE]),
        ),
        max_size=90,
    ),
    st.none() | st.integers(0, 40),
    st.integers(0, 40),
    st.booleans(),
)
def test_choices_are_always_allowed(
    entries: list[Entry], snapshot: int | None, checkpoint: int, running: bool
) -> None:
    """Whatever the table holds, no victim is out of bounds or twice in a round."""
    numbered = dict(table(*entries))
    chosen = victims(numbered.items(), snapshot, checkpoint, running)
    assert len(set(chosen)) == len(chosen) <= 16
    for index in chosen:
        victim = numbered[index]
        assert (snapshot or 0) < victim.birth <= checkpoint
        assert victim.held_by == NOBODY
        assert victim.live or victim.carries


def test_dead_data_goes_though_its_object_carries_holes() -> None:
    """What holes keep in the store is moved away like any sparse object, when it is worth it."""
    hiding = entry(5, 0, carries=True)
    assert victims(table(entry(1, FULL), hiding), None, 100) == [2]
    assert victims(table(entry(1, 9 * FULL, 9 * FULL), hiding), None, 100) == []
    assert victims(table(entry(1, FULL), entry(5, 0, 0, carries=True)), None, 100) == []
