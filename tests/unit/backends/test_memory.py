"""Provider ``memory``: its settings, its pages and its limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from backends.memory import PAGE, MemoryExport, MemoryProvider, MemorySettings
from backends.zero_map import HOLE, ZeroMap
from gateway.errors import NoSpace, Unavailable
from gateway.info import MAX_EXPORT_SIZE
from gateway.interfaces import IStorageProvider
from gateway.settings import read

provider = MemoryProvider()


def states(export):
    """Lengths and states as in base:allocation: 0 data, 2 zero, 3 hole and zero."""
    found = export.extents(0, export.info.size, False)
    return [(extent.length, extent.hole + 2 * extent.zero) for extent in found]


def test_it_provides_the_interface():
    """
    The provider has every method of the law.
    """
    assert verifyObject(IStorageProvider, provider)


def test_settings_are_read_from_texts():
    """
    The size is needed, the limit is not.
    """
    settings, found = read(MemorySettings, {"size": "1T"}, "/", str)
    assert found == []
    assert settings == MemorySettings(size=2**40, limit=None)
    assert provider.problems(settings, False) == []
    assert provider.describe(settings) == "memory"
    assert provider.describe(MemorySettings(size=1, limit=5)) == "memory, at most 5 bytes"
    assert provider.identity(settings) is None
    settings, found = read(MemorySettings, {}, "/", str)
    assert settings is None
    assert len(found) == 1
    assert provider.problems(MemorySettings(size=MAX_EXPORT_SIZE + 1), False) != []


def test_it_is_opened_now():
    """
    There is nothing to wait for.
    """
    export = provider.open_export("a", MemorySettings(size=PAGE), True, None)
    assert export.info.size == PAGE
    assert export.info.read_only


def test_holes_take_no_memory():
    """
    A huge disk costs the pages that were written, until they are zeroed.
    """
    export = MemoryExport(2**60)
    export.write(2**59 + 1, b"a", False)
    export.write(PAGE - 1, b"ab", False)
    assert export.resident == 3 * PAGE
    assert export.write_zeroes(0, 2**60, True, False, True) is None
    assert export.resident == 0
    assert states(export) == [(2**60, 3)]


def test_a_page_goes_when_its_last_bytes_are_trimmed():
    """
    Pieces of a page can be trimmed one by one.
    """
    export = MemoryExport(PAGE * 2)
    export.write(0, b"a" * PAGE, False)
    export.trim(0, 1000, False)
    assert export.resident == PAGE
    export.trim(1000, PAGE - 1000, False)
    assert export.resident == 0

    export.write(0, b"a" * 2 * PAGE, False)
    export.trim(0, 1000, False)
    export.trim(1000, PAGE, False)
    assert export.resident == PAGE


def test_the_limit_counts_pages():
    """
    Beyond the limit writing a hole fails and changes nothing; pages in place can be written.
    """
    export = MemoryExport(PAGE * 4, limit=PAGE * 2)
    export.write(PAGE - 1, b"ab", False)
    with pytest.raises(NoSpace, match=f"0 bytes of the limit of {2 * PAGE}"):
        export.write(2 * PAGE - 1, b"cd", False)
    assert bytes(export.read(2 * PAGE - 1, 2)) == b"\0\0"
    export.write(0, b"e" * 2 * PAGE, False)
    export.trim(0, PAGE, False)
    export.write(3 * PAGE, b"f", False)


def test_provisioned_zeroes_are_paid_for():
    """
    Space set aside is not given to others, and a write to it never lacks space.
    """
    export = MemoryExport(PAGE * 4, limit=PAGE * 2)
    export.write_zeroes(0, PAGE * 2, False, False, True)
    assert export.resident == 0
    assert states(export) == [(2 * PAGE, 2), (2 * PAGE, 3)]
    with pytest.raises(NoSpace):
        export.write(PAGE * 2, b"a", False)
    export.write(0, b"a" * PAGE * 2, False)
    with pytest.raises(NoSpace):
        export.write_zeroes(0, 4 * PAGE, False, False, False)
    export.write_zeroes(0, PAGE, False, False, False)
    assert export.resident == PAGE
    with pytest.raises(NoSpace):
        export.write(PAGE * 2, b"a", False)
    export.write(0, b"a", False)


@given(st.data())
def test_what_is_not_a_hole_can_always_be_written(data):
    """
    Whatever was written, zeroed and trimmed under a limit: no extent without ``hole``
    fails for lack of space, and the pages never exceed the limit.
    """
    size, limit = 6 * PAGE, 4 * PAGE
    export = MemoryExport(size, limit=limit)
    places = st.integers(0, 24).map(lambda n: n * PAGE // 4)
    for _ in range(data.draw(st.integers(1, 15))):
        start, end = sorted(data.draw(st.tuples(places, places)))
        kind = data.draw(st.sampled_from(["write", "zero", "provide", "trim"]))
        try:
            if kind == "write":
                export.write(start, b"a" * (end - start), False)
            elif kind == "trim":
                export.trim(start, end - start, False)
            else:
                export.write_zeroes(start, end - start, kind == "zero", False, False)
        except NoSpace:
            pass
        assert export.resident <= limit
    offset = 0
    for extent in export.extents(0, size, False):
        if not extent.hole:
            export.write(offset, b"b" * extent.length, False)
        offset += extent.length
    assert export.resident <= limit


def with_few_runs(size, limit):
    """An export whose map takes holes for data as soon as it has more than three runs."""
    export = MemoryExport(size, limit=limit)
    export._map = ZeroMap(size, HOLE, max_runs=3)
    return export


def test_a_hole_taken_for_data_is_paid_for():
    """
    What the map gave up for lack of runs costs its pages as a hole does; where no hole is
    reported, lack of space is another error.
    """
    export = with_few_runs(8 * PAGE, 2 * PAGE)
    for page in (1, 3):
        export.write(page * PAGE, b"a", False)
    (taken,) = [page for page in (0, 2, 4) if export._map.is_data(page * PAGE, page * PAGE + 1)]
    with pytest.raises(Unavailable, match="do not fit"):
        export.write(taken * PAGE, b"b", False)
    with pytest.raises(Unavailable, match="do not fit"):
        export.write_zeroes(taken * PAGE, 1, False, False, False)
    assert bytes(export.read(taken * PAGE, 1)) == b"\0"
    assert export.resident == 2 * PAGE
    export.trim(PAGE, PAGE, False)
    export.write(taken * PAGE, b"b", False)
    assert export.resident == 2 * PAGE


@given(st.data())
def test_no_sequence_of_requests_exceeds_the_limit(data):
    """
    With a map that forgets holes: the limit holds, and no extent without ``hole`` fails for
    lack of space.
    """
    size, limit = 6 * PAGE, 3 * PAGE
    export = with_few_runs(size, limit)
    places = st.integers(0, 24).map(lambda n: n * PAGE // 4)
    for _ in range(data.draw(st.integers(1, 15))):
        start, end = sorted(data.draw(st.tuples(places, places)))
        kind = data.draw(st.sampled_from(["write", "write", "zero", "provide", "trim"]))
        has_hole = start < end and any(
            extent.hole for extent in export.extents(start, end - start, False)
        )
        try:
            if kind == "write":
                export.write(start, b"a" * (end - start), False)
            elif kind == "trim":
                export.trim(start, end - start, False)
            else:
                export.write_zeroes(start, end - start, kind == "zero", False, False)
        except NoSpace:
            assert has_hole
        except Unavailable:
            assert not has_hole
        assert export.resident + len(export._reserved) * PAGE <= limit
