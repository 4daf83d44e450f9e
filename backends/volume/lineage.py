"""Whose objects a volume's map points to: its own and those of the volumes it was cloned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import attrs

from backends.volume.header import Header, decode
from backends.volume.keys import Crypt
from backends.volume.names import Kind, Names
from gateway.interfaces import Buffer


class Source(NamedTuple):
    """
    One object that holds data.

    Attributes:
        volume: 0 for the volume itself, else the number of an ancestor.
        kind: ``DATA`` or ``MOVED``.
        epoch: of a moved object's name; 0 for a log object.
        number: slot, or the n of a moved object's name.
    """

    volume: int
    kind: Kind
    epoch: int
    number: int


@attrs.frozen
class Member:
    """
    One volume of a lineage.

    Attributes:
        uuid: 16 bytes.
        names: of its objects.
        crypt: its keys; None if it is not encrypted.
    """

    uuid: bytes
    names: Names
    crypt: Crypt | None

    def key(self, source: Source) -> str:
        """What the store calls an object of this volume, whatever number that has in a lineage."""
        if source.kind == Kind.MOVED:
            return self.names.gc(source.epoch, source.number)
        return self.names.log(source.number)

    def header(self, source: Source, start: Buffer) -> Header:
        """
        The header of an object of this volume, held against the object's name.

        Args:
            start: of the object: all of the header at least.

        Raises:
            Corrupt: it is no header, or not the one that the name asks for.
        """
        name = {"position": source.number}
        if source.kind == Kind.MOVED:
            name = {"epoch": source.epoch, "number": source.number}
        return decode(
            start, self.crypt, self.key(source), kind=source.kind, volume=self.uuid, **name
        )


class Lineage:
    """
    A volume, followed by its ancestors in the order in which its map numbers them.

    Args:
        members: the volume itself first.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)

    def __getitem__(self, number: int) -> Member:
        return self._members[number]

    def __len__(self) -> int:
        return len(self._members)

    @property
    def own(self) -> Member:
        """The volume itself."""
        return self._members[0]

    def key(self, source: Source) -> str:
        """What the store calls the object."""
        return self._members[source.volume].key(source)
