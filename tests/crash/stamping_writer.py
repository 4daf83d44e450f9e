"""A client that changes a disk at random, with changes that can be told apart, and keeps book."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.crash.served import KIB, SIZE
from tests.simulation.model import SECTOR, Branch, Mutation, Zones, payload
from tests.wire import Client
from tests.wire_format import FLUSH, FUA, NO_HOLE, READ, TRIM, WRITE, WRITE_ZEROES, EndOfStream

#: The beginning of the disk, where two pages of the map meet, and the disk's end.
ZONES = Zones(
    [
        (0, 1024 * KIB),
        (16384 * KIB - 512 * KIB, 1024 * KIB),
        (SIZE - 512 * KIB, 512 * KIB),
    ]
)

_KINDS = {WRITE: 60, WRITE_ZEROES: 10, TRIM: 8, FLUSH: 8, READ: 14}
_NAMES = {WRITE: "write", WRITE_ZEROES: "zero", TRIM: "trim"}
_LENGTHS = (SECTOR, 4 * KIB, 4 * KIB, 16 * KIB, 64 * KIB, 200 * KIB)


class Ledger:
    """
    What every writer of a disk has done to it.

    Attributes:
        branch: the disk as it is now.
        numbers: of the changes; one is never given twice.
    """

    def __init__(self) -> None:
        self._moments = 0
        self._changes = 0
        self.start_anew(bytes(ZONES.size))

    def start_anew(self, observed: bytes) -> None:
        """The disk was found to hold this, and that is durable."""
        self.branch = Branch(ZONES, observed, self.moment)

    def moment(self) -> int:
        """A count of events."""
        self._moments += 1
        return self._moments

    def number(self) -> int:
        """For a change."""
        self._changes += 1
        return self._changes


class StampingWriter:
    """
    One connection with several requests under way.

    Args:
        client: connected.
        ledger: gets every request and answer.
        random: draws the requests.
        depth: requests under way.
        may_fail: whether errors are answers like any other; else they are wrong.

    Attributes:
        answered: how many requests were.
        flushed: how many of them were flushes, or changes with FUA, that succeeded.
        failed: how many were answered with an error.
    """

    def __init__(
        self, client: Client, ledger: Ledger, random: Random, depth: int, may_fail: bool = False
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._random = random
        self._depth = depth
        self._may_fail = may_fail
        self._open: dict[int, tuple[int, Mutation | None]] = {}
        self.answered = self.flushed = self.failed = 0

    def write_until(self, enough: Callable[[], bool]) -> bool:
        """Go on until ``enough``, then wait for the answers; False if the gateway ends before."""
        try:
            while not enough():
                while len(self._open) < self._depth:
                    self._submit()
                self._take_answer()
            while self._open:
                self._take_answer()
        except (EndOfStream, ConnectionError):
            self._drain()
            return False
        return True

    def write(self, count: int) -> bool:
        """So many requests more."""
        end = self.answered + count
        return self.write_until(lambda: self.answered >= end)

    def flush(self) -> bool:
        """Whether it succeeded; nothing else is under way."""
        assert not self._open
        self._send(FLUSH, 0, 0, 0)
        before = self.flushed
        self._take_answer()
        return self.flushed > before

    def _drain(self) -> None:
        """Answers that were sent before the end count."""
        try:
            while self._open:
                self._take_answer()
        except (EndOfStream, ConnectionError):
            pass

    def _submit(self) -> None:
        kind = self._random.choices(list(_KINDS), list(_KINDS.values()))[0]
        offset, length = (0, 0) if kind == FLUSH else self._range(kind)
        flags = 0
        if kind in _NAMES and self._random.random() < 0.05:
            flags |= FUA
        if kind == WRITE_ZEROES and self._random.random() < 0.5:
            flags |= NO_HOLE
        self._send(kind, offset, length, flags)

    def _send(self, kind: int, offset: int, length: int, flags: int) -> None:
        ledger = self._ledger
        mutation = None
        data = None
        moment = ledger.moment()
        if kind in _NAMES:
            number = ledger.number() if kind == WRITE else 0
            mutation = ledger.branch.submit(_NAMES[kind], number, offset, length, bool(flags & FUA))
            if kind == WRITE:
                data = payload(number, offset, length)
        # Before it is sent: what was sent in part may have arrived.
        cookie = moment
        self._open[cookie] = (moment, mutation)
        self._client.submit(kind, offset, length, flags, data, cookie)

    def _range(self, kind: int) -> tuple[int, int]:
        start, size = self._random.choice(ZONES.zones)
        length = self._random.choice(_LENGTHS)
        if kind in (TRIM, WRITE_ZEROES) and self._random.random() < 0.1:
            length = size
        offset = self._random.randrange(0, size - length + 1, SECTOR)
        if self._random.random() < 0.2:
            cut = self._random.randrange(SECTOR)
            length = max(1, length - cut - self._random.randrange(SECTOR))
            offset = min(offset + cut, size - length)
        return start + offset, length

    def _take_answer(self) -> None:
        answer = self._client.answer()
        moment, mutation = self._open.pop(answer.request.cookie)
        self.answered += 1
        succeeded = answer.error == 0
        assert succeeded or self._may_fail, answer
        self.failed += not succeeded
        branch = self._ledger.branch
        if mutation is not None:
            branch.answer(mutation, succeeded)
            self.flushed += succeeded and mutation.durable
        elif not succeeded:
            pass
        elif answer.request.type == FLUSH:
            branch.flush_done(moment)
            self.flushed += 1
        else:
            branch.check_read(answer.request.offset, bytes(answer.data), moment)
