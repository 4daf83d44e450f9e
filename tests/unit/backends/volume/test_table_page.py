"""Promises of `backends.volume.table_page`: a page comes back from its bytes, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.table_page import TABLE_PAGE, Entry, ObjectKind, TablePage


def entry(birth: int = 1) -> Entry:
    return Entry(ObjectKind.DATA, 0, 2, birth, 2048, 0, 5000, birth)


ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(ObjectKind),
    volume=st.integers(0, 0xFFFF),
    epoch=st.integers(0, (1 << 32) - 1),
    number=st.integers(0, (1 << 64) - 1),
    sectors=st.integers(0, (1 << 24) - 1),
    live=st.integers(0, (1 << 32) - 1),
    stored=st.integers(0, (1 << 32) - 1),
    birth=st.integers(0, (1 << 64) - 1),
    carries=st.booleans(),
    held_by=st.integers(-1, (1 << 63) - 1),
)


def page_of(entries: dict[int, Entry]) -> TablePage:
    page = TablePage()
    for slot, value in entries.items():
        page[slot] = value
    page.count = len(entries)
    return page


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(0, TABLE_PAGE - 1), ENTRIES, min_size=1, max_size=20))
def test_a_page_decodes_to_what_was_encoded(entries: dict[int, Entry]) -> None:
    """Every field of every entry; and a copy has them as well."""
    page = page_of(entries)
    for other in (TablePage.decoded(page.encoded()), page.copy()):
        assert other.count == len(entries)
        assert {slot: other[slot] for slot in range(TABLE_PAGE) if other.kind[slot]} == entries


def test_a_copy_changes_alone() -> None:
    """Neither page tells the other."""
    page = page_of({3: entry(1)})
    twin = page.copy()
    twin[3] = entry(2)
    assert (page[3].birth, twin[3].birth) == (1, 2)


def test_a_full_page_decodes_as_well() -> None:
    """All slots taken."""
    page = TablePage()
    for slot in range(TABLE_PAGE):
        page[slot] = entry(birth=slot)
    page.count = TABLE_PAGE
    other = TablePage.decoded(page.encoded())
    assert [other[slot] for slot in (0, 500, 1023)] == [page[slot] for slot in (0, 500, 1023)]


def _page() -> bytes:
    return page_of({1: entry(), 2: entry()}).encoded()


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        bytes(2),
        _page()[:-1],
        _page() + b"\0",
        _page()[:4] + b"\1\0" + _page()[6:],
        _page()[:4] + b"\0\4" + _page()[6:],
        _page()[:6] + b"\0" + _page()[7:],
    ],
)
def test_bytes_that_are_no_page_are_refused(plain: bytes) -> None:
    """Too short, too long, slots that do not ascend or fit, unknown kinds."""
    with pytest.raises(ValueError, match="table: got"):
        TablePage.decoded(plain)
