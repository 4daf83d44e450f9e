"""What is remembered of objects whose headers were read: little, of many."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from backends.volume.header import Header
from backends.volume.lineage import Lineage, Source

#: Headers kept, in brief. Of full objects they take 40 MB, and stand for 128 GiB of data.
MOST = 16384


@attrs.define(eq=False)
class KnownObject:
    """
    One object.

    Attributes:
        header: in brief.
        key: what the store calls it.
        identity: what caches call it, whichever volume reads it.
        gets: how often frames of it were got since it is known.
    """

    header: Header
    key: str
    identity: str
    gets: int = 0


class KnownObjects:
    """
    The least recently used are forgotten.

    Args:
        lineage: says what objects are called.
        most: objects.
    """

    def __init__(self, lineage: Lineage, most: int = MOST) -> None:
        self._lineage = lineage
        self._most = most
        self._objects: OrderedDict[Source, KnownObject] = OrderedDict()

    def get(self, source: Source) -> KnownObject | None:
        """An object, which counts as used now; None if it is not known."""
        known = self._objects.get(source)
        if known is not None:
            self._objects.move_to_end(source)
        return known

    def described(self, source: Source, header: Header) -> KnownObject:
        """What there is to know of an object; it is not remembered yet."""
        return KnownObject(header.brief(), self._lineage.key(source), self._identity(source))

    def remember(self, source: Source, known: KnownObject) -> None:
        """Take note of an object, in the place of what was known of it."""
        self._objects[source] = known
        if len(self._objects) > self._most:
            self._objects.popitem(last=False)

    def identity(self, source: Source) -> str:
        """What caches call an object, known or not; that counts as no use."""
        known = self._objects.get(source)
        return self._identity(source) if known is None else known.identity

    def _identity(self, source: Source) -> str:
        uuid = self._lineage[source.volume].uuid
        return f"{uuid.hex()}/{source.kind:d}/{source.epoch:x}/{source.number:x}"
