"""The records that are in the journal and not yet in the store: where each ends, in 24 bytes."""

from __future__ import annotations

from array import array

import attrs

from backends.volume.journal_records import Link

_TRIM = 4096


@attrs.frozen
class Outstanding:
    """
    What only the journal has.

    Attributes:
        records: how many.
        bytes: of data in them.
        age: seconds since the oldest was appended; 0 without any.
    """

    records: int
    bytes: int
    age: float


class RecordIndex:
    """
    Records in their order, added behind and released in front.

    Args:
        tail: the place before the first.

    Attributes:
        tail: the place before the oldest that was not released.
        head: the place behind the newest.
    """

    def __init__(self, tail: Link) -> None:
        self.tail = self.head = tail
        self._first = 0
        self._bytes = 0
        self._ends = array("Q")
        self._crcs = array("I")
        self._lengths = array("I")
        self._milliseconds = array("Q")

    def add(self, head: Link, data_bytes: int, milliseconds: int) -> None:
        """
        Args:
            head: the place behind the record; its ``lsn`` is one higher than before.
            data_bytes: of the record.
            milliseconds: since 1970, when it was made.
        """
        self._ends.append(head.position)
        self._crcs.append(head.crc)
        self._lengths.append(data_bytes)
        self._milliseconds.append(milliseconds)
        self._bytes += data_bytes
        self.head = head

    def release(self, lsn: int) -> None:
        """Forget the records up to and including ``lsn``, as far as there are any."""
        count = min(lsn + 1, self.head.lsn) - self.tail.lsn
        if count <= 0:
            return
        first = self._first + count
        self._bytes -= sum(self._lengths[self._first : first])
        self.tail = Link(self._ends[first - 1], self.tail.lsn + count, self._crcs[first - 1])
        self._first = first
        if first >= _TRIM and first * 2 >= len(self._ends):
            for column in (self._ends, self._crcs, self._lengths, self._milliseconds):
                del column[:first]
            self._first = 0

    def outstanding(self, now: float) -> Outstanding:
        """
        Args:
            now: seconds since 1970.
        """
        records = self.head.lsn - self.tail.lsn
        if not records:
            return Outstanding(0, 0, 0.0)
        return Outstanding(
            records, self._bytes, max(0.0, now - self._milliseconds[self._first] / 1000)
        )
