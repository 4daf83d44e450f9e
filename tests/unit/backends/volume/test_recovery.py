"""The walk over slots and fences."""

from __future__ import annotations

import attrs
import pytest

from backends.volume.header import Header, Kind
from backends.volume.recovery import walk
from gateway.errors import Corrupt

DATA = Header(Kind.DATA, bytes(16), bytes(16), 1, 1, 0, 0, False, (), (), 0, 0)


def data(slot, epoch=1, unsettled=0):
    return attrs.evolve(DATA, position=slot, epoch=epoch, unsettled=unsettled)


def fence(slot, to, epoch=1):
    return attrs.evolve(DATA, kind=Kind.FENCE, position=slot, epoch=epoch, number=to)


def walked(*headers, start=1):
    found = walk({header.position: header for header in headers}, start, "log/")
    return [header.position for header in found.data], found.end, found.epoch


def test_an_empty_log_ends_where_it_starts():
    assert walked(start=7) == ([], 7, 0)
    assert walked(data(9, unsettled=2), start=7) == ([], 7, 0)


def test_slots_without_gaps_over_the_jumps_of_fences():
    found = walked(
        data(1), data(2), fence(3, 12, 2), data(4), data(12, 2), data(14, 2, unsettled=1)
    )
    assert found == ([1, 2, 12], 13, 2)


@pytest.mark.parametrize("behind", [4, 5, 10])
def test_an_object_that_was_known_to_be_there_is_missed(behind):
    """
    An end of the log is lawful only if nobody who wrote behind it had seen it filled.
    """
    with pytest.raises(Corrupt, match="log/0000000000000003 is missing"):
        walked(data(1), data(2), data(behind, unsettled=behind - 4))
    assert walked(data(1), data(2), data(behind, unsettled=behind - 3)) == ([1, 2], 3, 1)


def test_a_fence_that_is_gone_is_missed():
    """
    Whoever went on behind it had put it.
    """
    with pytest.raises(Corrupt, match="is missing"):
        walked(data(1), data(2), data(11, 2))


def test_epochs_that_fall_are_refused():
    with pytest.raises(Corrupt, match="epoch 1 behind epoch 2"):
        walked(data(1, 2), data(2, 1))


@pytest.mark.parametrize("to", [0, 2, 3])
def test_fences_lead_on(to):
    with pytest.raises(Corrupt, match=f"leads to slot {to}"):
        walked(data(1), data(2), fence(3, to))


def test_damage_on_the_way_is_raised_and_elsewhere_ignored():
    damage = Corrupt("log/2: damaged")
    assert walk({1: data(1), 3: damage}, 1, "log/").end == 2
    with pytest.raises(Corrupt, match="damaged"):
        walk({1: data(1), 2: damage}, 1, "log/")
