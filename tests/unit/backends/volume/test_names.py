"""Keys: made, read back, and told from what is foreign."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume.names import Names

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
PREFIXES = st.sampled_from(["", "v", "disks/a", "log/log"])


@given(PREFIXES, U64, U32, U32, st.binary(min_size=16, max_size=16))
def test_a_key_is_read_back_by_its_own_parser_alone(prefix, wide, epoch, n, uuid):
    """
    No key of one type is ever taken for one of another.
    """
    names = Names(prefix)
    parsers = [names.parse_log, names.parse_sb, names.parse_gc, names.parse_ck, names.parse_ref]
    made = [
        (names.log(wide), wide),
        (names.sb(wide), wide),
        (names.gc(epoch, n), (epoch, n)),
        (names.ck(epoch, n), (epoch, n)),
        (names.ref(uuid), uuid),
    ]
    for index, (key, value) in enumerate(made):
        answers = [parse(key) for parse in parsers]
        assert answers == [None] * index + [value] + [None] * (4 - index)


@given(U64, U64)
def test_keys_sort_as_their_numbers(one, other):
    """
    A listing from a slot on is a listing of the later slots.
    """
    names = Names("v")
    assert (names.log(one) < names.log(other)) == (one < other)


def test_keys_are_spelled_as_the_format_says():
    """
    The prefix is joined with one slash; the root of the store needs none.
    """
    names = Names("disks/a")
    assert names.log(0x1F) == "disks/a/log/000000000000001f"
    assert names.gc(1, 0xAB) == "disks/a/gc/00000001-000000ab"
    assert names.ck(2, 3) == "disks/a/ck/00000002-00000003"
    assert names.ref(bytes(range(16))) == "disks/a/ref/000102030405060708090a0b0c0d0e0f"
    assert Names("disks/a/").sb(1) == names.sb(1) == "disks/a/sb/0000000000000001"
    assert Names("").sb_prefix == "sb/"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "log/0000000000000001",
        "v/log/",
        "v/log/1",
        "v/log/000000000000001F",
        "v/log/0000000000000001.tmp",
        "v/log/0000000000000001\n",
        "v/log/+000000000000001",
        "v/log/00000000000000١1",
        "v2/log/0000000000000001",
        "x/v/log/0000000000000001",
    ],
)
def test_foreign_keys_are_nobodys(key):
    """
    What lies beside a volume's objects is left alone, however similar.
    """
    assert Names("v").parse_log(key) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda names: names.log(-1),
        lambda names: names.sb(2**64),
        lambda names: names.gc(2**32, 0),
        lambda names: names.ck(0, 2**32),
        lambda names: names.ref(b"short"),
    ],
)
def test_numbers_that_would_break_the_spelling_are_refused(make):
    """
    A longer name would sort wrongly and never be found again.
    """
    with pytest.raises(ValueError, match="got .* expected"):
        make(Names("v"))
