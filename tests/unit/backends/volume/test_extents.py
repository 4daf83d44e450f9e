"""Block status: merged, bounded, and the same as what is read."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from backends.objects.memory import MemoryStore
from backends.volume import extents
from backends.volume.environment import Options
from backends.volume.units import PAGE_SECTORS, SECTOR
from gateway.info import KIB, MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

PAGE = PAGE_SECTORS * SECTOR


def fresh(size, **options):
    options = Options(collect=False, upload_delay=1e9, checkpoint_delay=1e9, **options)
    host = VolumeHost(store=HeldStore(MemoryStore(), holds=()), options=options)
    return host, host.new(size)


def plain(found):
    return [(one.length, one.hole, one.zero) for one in found]


def test_a_fresh_disk_of_any_size_is_one_extent():
    _, volume = fresh(1 << 50)
    for first_only in (False, True):
        assert plain(volume.extents(0, 1 << 50, first_only)) == [(1 << 50, True, True)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "zero", "hole", "flush"]),
            st.integers(0, 63),
            st.integers(1, 32),
        ),
        max_size=20,
    ),
    st.integers(0, 64 * SECTOR - 1),
    st.integers(1, 64 * SECTOR),
    st.booleans(),
)
def test_status_says_of_each_sector_what_was_done_last(steps, offset, length, again):
    host, volume = fresh(1 * MIB)
    model = [(True, True)] * 64
    for what, start, sectors in steps:
        end = min(start + sectors, 64)
        at, size = start * SECTOR, (end - start) * SECTOR
        if what == "write":
            host.settle(volume.write(at, b"x" * size, False))
            model[start:end] = [(False, False)] * (end - start)
        elif what == "flush":
            host.settle(volume.flush())
        else:
            host.settle(volume.write_zeroes(at, size, what == "hole", False, False))
            model[start:end] = [(what == "hole", True)] * (end - start)
    if again:
        host.settle(volume.close())
        volume = host.again()
    length = min(length, 64 * SECTOR - offset)
    found = host.settle(volume.extents(offset, length, False))
    position = offset
    for number, one in enumerate(found):
        assert one.length > 0
        if number:
            assert (one.hole, one.zero) != (found[number - 1].hole, found[number - 1].zero)
        for byte in range(position, position + one.length, 37):
            assert model[byte // SECTOR] == (one.hole, one.zero)
        position += one.length
    assert offset + length <= position <= -(-(offset + length) // SECTOR) * SECTOR
    (first,) = host.settle(volume.extents(offset, length, True))
    assert plain([first])[0][1:] == plain(found)[0][1:]


def test_a_scattered_disk_is_told_in_parts():
    """Thousands of extents, but not more than fit an answer, and the caller asks on."""
    host, volume = fresh(64 * MIB)
    for number in range(3000):
        host.settle(volume.write(number * 8 * KIB, b"x" * 512, False))
    found, position = [], 0
    while position < 64 * MIB:
        some = host.settle(volume.extents(position, 64 * MIB - position, False))
        assert 1 <= len(some) <= 2048
        found += plain(some)
        position += sum(one.length for one in some)
    assert position == 64 * MIB and len(found) >= 6000


def test_one_extent_of_very_many_runs_is_cut_short(monkeypatch):
    """Looking at all of them would keep everybody waiting."""
    monkeypatch.setattr(extents, "_RUNS", 100)
    host, volume = fresh(64 * MIB)
    order = list(range(1000))
    random.Random(1).shuffle(order)
    for number in order:
        host.settle(volume.write(number * 512, b"x" * 512, False))
    (one,) = host.settle(volume.extents(0, 64 * MIB, True))
    assert not one.zero and 50 * SECTOR < one.length < 1000 * SECTOR


def test_only_a_part_of_a_large_map_is_fetched():
    host, volume = fresh(8192 * MIB)
    for page in range(400):
        host.settle(volume.write(page * PAGE + 4096, b"x" * 512, False))
    host.settle(volume.close())
    volume = host.again()
    host.store.holds.add("get")
    host.store.calls.clear()
    answers = []
    later = volume.extents(0, 8192 * MIB, False)
    assert isinstance(later, Deferred)
    later.addBoth(answers.append)
    while not answers:
        host.store.answer_all()
        host.go_on()
    covered = sum(one.length for one in answers[0])
    assert 32 * PAGE <= covered <= 65 * PAGE
    assert len(host.store.calls) < 80
    found, position = plain(answers[0]), covered
    host.store.holds.clear()
    while position < 8192 * MIB:
        some = host.settle(volume.extents(position, 8192 * MIB - position, False))
        position += sum(one.length for one in some)
        found += plain(some)
    assert sum(not zero for _, _, zero in found) == 400
