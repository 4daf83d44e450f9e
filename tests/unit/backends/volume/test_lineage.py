"""Objects of a volume and of its ancestors have the names of whose they are."""

from __future__ import annotations

import pytest

from backends.volume.header import Codec, Extent
from backends.volume.lineage import Lineage, Member, Source
from backends.volume.names import Kind, Names
from backends.volume.sealing import seal
from backends.volume.values import DATA
from gateway.errors import Corrupt

UUID = b"a" * 16


def test_names_of_sources():
    own, parent = Member(b"a" * 16, Names("own"), None), Member(b"b" * 16, Names("old"), None)
    lineage = Lineage([own, parent])
    assert lineage.own is own and lineage[1] is parent and len(lineage) == 2
    assert lineage.key(Source(0, Kind.DATA, 0, 5)) == Names("own").log(5)
    assert lineage.key(Source(1, Kind.DATA, 0, 5)) == Names("old").log(5)
    assert lineage.key(Source(1, Kind.MOVED, 2, 5)) == Names("old").gc(2, 5)


def stored(kind: Kind, epoch: int, position: int, number: int, volume: bytes = UUID) -> bytes:
    """An object with one sector of data."""
    extents, writer = [Extent(0, 1, DATA, 0)], b"w" * 16
    sealed = seal(
        kind, volume, writer, epoch, position, number, 0, extents, [bytes(512)], Codec.NONE, None
    )
    return b"".join(sealed.parts)


@pytest.mark.parametrize(
    ("source", "data", "complaint"),
    [
        (Source(0, Kind.DATA, 0, 5), stored(Kind.DATA, 3, 5, 77), None),
        (Source(0, Kind.DATA, 0, 5), stored(Kind.DATA, 3, 6, 77), "position: got 6, expected 5"),
        (Source(0, Kind.DATA, 0, 5), stored(Kind.MOVED, 3, 5, 77), "got moved, expected data"),
        (Source(0, Kind.DATA, 0, 5), stored(Kind.DATA, 3, 5, 77, b"b" * 16), "volume: got 6262"),
        (Source(2, Kind.MOVED, 3, 5), stored(Kind.MOVED, 3, 77, 5), None),
        (Source(2, Kind.MOVED, 3, 5), stored(Kind.MOVED, 4, 77, 5), "epoch: got 4, expected 3"),
        (Source(2, Kind.MOVED, 3, 5), stored(Kind.MOVED, 3, 77, 6), "number: got 6, expected 5"),
        (Source(2, Kind.MOVED, 3, 5), stored(Kind.DATA, 3, 77, 5), "got data, expected moved"),
    ],
)
def test_a_header_says_what_the_objects_name_says(
    source: Source, data: bytes, complaint: str | None
) -> None:
    """An object that lies where another should is refused, and the key is named."""
    member = Member(UUID, Names("own"), None)
    if complaint is None:
        assert member.header(source, data).kind is source.kind
    else:
        with pytest.raises(Corrupt, match=complaint) as refused:
            member.header(source, data)
        assert str(refused.value).startswith(member.key(source))
