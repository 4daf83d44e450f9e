"""Objects of a volume and of its ancestors have the names of whose they are."""

from __future__ import annotations

from backends.volume.lineage import Lineage, Member, Source
from backends.volume.names import Kind, Names


def test_names_of_sources():
    own, parent = Member(b"a" * 16, Names("own"), None), Member(b"b" * 16, Names("old"), None)
    lineage = Lineage([own, parent])
    assert lineage.own is own and lineage[1] is parent and len(lineage) == 2
    assert lineage.key(Source(0, Kind.DATA, 0, 5)) == Names("own").log(5)
    assert lineage.key(Source(1, Kind.DATA, 0, 5)) == Names("old").log(5)
    assert lineage.key(Source(1, Kind.MOVED, 2, 5)) == Names("old").gc(2, 5)
