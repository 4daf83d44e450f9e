"""Clients of one attachment: requests of all kinds, several at a time, each answer checked."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from gateway.errors import Closed, Corrupt, Fenced, NotFast, StorageError, Unavailable
from gateway.info import KIB
from tests.simulation.model import SECTOR, Wrong, payload


class Session:
    """
    One process that has the volume open, and its clients.

    Args:
        simulation: gives moments, numbers, randomness; is told what is unanswered.
        process: a `Process`.
        volume: an `IExport`.
        branch: a `Branch` of what it holds.
    """

    def __init__(self, simulation, process, volume, branch):
        self.simulation = simulation
        self.process = process
        self.volume = volume
        self.branch = branch
        self.fenced = False
        self.closing = False
        self.superseded = False
        self.outages = 0 if process.host is None else process.host.outages
        self.loss = False  # somebody went on without what its journal may have had alone
        self.sizes = {volume.info.size}  # those that the disk may have
        self.left_size = None
        self.paused = False
        self.ending = False
        self.in_flight = 0
        self.promises = 0
        self._habits = simulation.profile.habits
        self._limit = simulation.random.choice((1, 2, 4, 8, 16))
        self._room = []

    @property
    def alive(self):
        return self.process.alive and not self.closing

    async def work(self, operations):
        """Hand in that many requests, in bursts and with pauses."""
        random = self.simulation.random
        pace = random.choice((0.0, 0.005, 0.05, 0.5))
        streams = []
        while operations > 0 and self.alive:
            for _ in range(random.choice((1, 1, 1, 3, 12))):
                if not await self._may_ask():
                    return
                if self._habits.streams and random.random() < self._habits.streams:
                    streams.append(self.simulation.run_beside(self._stream()))
                else:
                    self.issue()
                operations -= 1
            if pace:
                await self.simulation.sleep(random.expovariate(1 / pace))
        for stream in streams:
            await stream

    async def fill(self):
        """Write nearly everywhere, in a row."""
        random = self.simulation.random
        for start, size in self.simulation.zones.zones:
            at, end = start, start + size
            while at < end:
                length = min(random.choice((64, 256, 512, 1000)) * KIB, end - at)
                if not await self._may_ask():
                    return
                if random.random() < 0.95:
                    self.write(at, length, False)
                at += length

    async def _may_ask(self):
        """When there is room for another request; False if this has ended."""
        while self.in_flight >= self._limit:
            await self._next_answer()
        while self.paused:
            await self.simulation.sleep(0.1)
        return self.alive

    async def _stream(self):
        """Read in a row, as far as that goes; perhaps all of it once more."""
        random = self.simulation.random
        start, size = random.choice(self.simulation.zones.zones)
        step = random.choice(self._habits.steps)
        first = start + random.choice((0, random.randrange(0, size, 4096)))
        count = random.choice((6, 16, 40))
        for _ in range(random.choice((1, 1, 2))):
            for at in range(first, min(first + count * step, start + size), step):
                if not await self._may_ask():
                    return
                self.read(at, min(step, start + size - at))

    async def rest(self):
        """Until every request is answered."""
        while self.in_flight and self.process.alive:
            await self._next_answer()

    def issue(self):
        """One request."""
        random = self.simulation.random
        kind = random.choice(self._habits.kinds)
        if kind == "flush":
            self.flush()
            return
        offset, length = self._range()
        fua = random.random() < 0.15
        if kind == "write":
            self.write(offset, length, fua)
        elif kind == "read":
            self.read(offset, length)
        elif kind == "cache":
            self.cache(offset, length)
        elif kind == "extents":
            self.extents(offset, length, random.random() < 0.2)
        else:
            if random.random() < 0.15:
                offset, length = self._wide_range()
            if kind == "zero":
                self.zero(offset, length, random.random() < 0.5, fua, random.random() < 0.3)
            else:
                self.trim(offset, length, fua)

    # Requests. None of them waits.

    def write(self, offset, length, fua, zeroes=False):
        simulation = self.simulation
        number = 0 if zeroes or simulation.random.random() < 0.04 else simulation.next_number()
        data = bytearray(payload(number, offset, length))
        mutation = self.branch.submit("write", number, offset, length, fua)

        def scribble():
            data[:] = b"\xee" * length  # it is the caller's again

        view = memoryview(data)
        self._change(mutation, scribble, lambda: self.volume.write(offset, view, fua))

    def zero(self, offset, length, may_trim, fua, fast):
        mutation = self.branch.submit("zero", 0, offset, length, fua)

        def call():
            try:
                return self.volume.write_zeroes(offset, length, may_trim, fua, fast)
            except NotFast:
                if length > 256 * KIB and not (offset % SECTOR or length % SECTOR):
                    raise Wrong("a wide range of whole sectors is not zeroed fast") from None
                return self.volume.write(offset, bytes(length), fua)

        self._change(mutation, None, call)

    def trim(self, offset, length, fua):
        mutation = self.branch.submit("trim", 0, offset, length, fua)
        self._change(mutation, None, lambda: self.volume.trim(offset, length, fua))

    def flush(self):
        asked = self.simulation.moment()

        def done(_):
            self.promises += 1
            self.branch.flush_done(asked)
            self._not_after_fencing("flush")

        self._request("flush", self.volume.flush, done)

    def read(self, offset, length):
        asked = self.simulation.moment()
        text = f"read {offset}+{length}"
        if self.simulation.random.random() < 0.3:
            data = bytearray(length)

            def call():
                if self.volume.read_into(offset, memoryview(data)):
                    return data
                return self.volume.read(offset, length)
        else:

            def call():
                return self.volume.read(offset, length)

        def done(data):
            if len(data) != length:
                raise Wrong(f"{text}: got {len(data)} bytes")
            self.branch.check_read(offset, bytes(data), asked)

        self._request(text, call, done)

    def cache(self, offset, length):
        text = f"cache {offset}+{length}"
        self._request(text, lambda: self.volume.cache(offset, length), lambda _: None)

    def extents(self, offset, length, first_only):
        asked = self.simulation.moment()
        text = f"extents {offset}+{length}"

        def done(extents):
            if not extents or any(extent.length <= 0 for extent in extents):
                raise Wrong(f"{text}: {extents}")
            at = offset
            for extent in extents:
                if at >= offset + length:
                    raise Wrong(f"{text}: more than was asked for")
                if extent.hole and not extent.zero:
                    raise Wrong(f"{text}: a hole that is not zero")
                if extent.zero:
                    self.branch.check_zero(at, extent.length, asked)
                at += extent.length
            if at > self.volume.info.size:
                raise Wrong(f"{text}: beyond the end of the disk")

        self._request(text, lambda: self.volume.extents(offset, length, first_only), done)

    # Inside.

    def _change(self, mutation, after, call):
        def done(_):
            if after is not None:
                after()
            self.branch.answer(mutation, True)
            if mutation.durable:
                self.promises += 1
                self._not_after_fencing(str(mutation))

        def failed():
            if after is not None:
                after()
            self.branch.answer(mutation, False)

        self._request(str(mutation), call, done, failed)

    def _request(self, text, call, done, failed=None):
        simulation = self.simulation
        simulation.note("request", self.process.name, text)
        try:
            result = call()
        except StorageError as error:
            self._failed(text, error, failed)
            return
        if not self.process.alive:
            return  # it died on the way
        if not isinstance(result, Deferred):
            simulation.note("now", self.process.name)
            done(result)
            return
        self.in_flight += 1
        key = simulation.begins(self.process, text)

        def answered(value):
            if not self.process.alive:
                return
            simulation.ends(key)
            self.in_flight -= 1
            simulation.note("later", self.process.name, text)
            done(value)

        def refused(failure):
            if not self.process.alive:
                return
            simulation.ends(key)
            self.in_flight -= 1
            if failure.check(NotFast) and "zero" in text:
                raise Wrong(f"{text}: not fast, and says so late")
            if not failure.check(StorageError):
                simulation.failed(failure, f"{text} failed otherwise than as storage does")
                return
            self._failed(text, failure.value, failed)

        result.addCallbacks(answered, refused)
        result.addErrback(simulation.failed, text)
        result.addCallback(self._made_room)

    def _made_room(self, _):
        waiting, self._room = self._room, []
        for one in waiting:
            if self.process.alive:
                one.callback(None)

    def _next_answer(self):
        answered = Deferred()
        self._room.append(answered)
        return answered

    def _failed(self, text, error, failed):
        self.simulation.note("failed", self.process.name, text, type(error).__name__)
        if failed is not None:
            failed()
        self.permit(text, error)

    def permit(self, text, error):
        """
        Raises:
            Wrong: there is no reason for such a failure.
        """
        profile = self.simulation.profile
        if isinstance(error, Fenced):
            if not self.superseded:
                raise Wrong(f"{text}: fenced, but nobody has taken over: {error}") from error
            self.fenced = True
        elif isinstance(error, Closed):
            if not self.closing:
                raise Wrong(f"{text}: closed, but nobody has closed it") from error
        elif isinstance(error, Corrupt):
            if not profile.rot and not self.superseded:
                raise Wrong(f"{text}: {error}") from error
        elif isinstance(error, Unavailable):
            expected = profile.errors or profile.rot or self.superseded or self.closing
            if not expected:
                raise Wrong(f"{text}: unavailable, with a store that works: {error}") from error
        else:
            raise Wrong(f"{text}: {type(error).__name__}: {error}") from error

    def _not_after_fencing(self, text):
        if self.fenced:
            raise Wrong(f"{text} succeeded, though the volume has said that it is fenced")

    def _range(self):
        random = self.simulation.random
        start, size = random.choice(self.simulation.zones.zones)
        length = min(random.choice(self._habits.lengths), size)
        drawn = random.random()
        if drawn < 0.3:  # a few hot places
            offset = random.randrange(0, size, 4096) % self._habits.hot
        else:
            offset = random.randrange(0, size, 4096)
        if drawn > 0.85:
            offset += random.randrange(0, 4096, SECTOR)
        elif drawn > 0.75:
            offset += random.randrange(4096)
            length = random.randint(1, length)
        elif drawn > 0.7:
            offset += SECTOR * 3
        offset = min(offset, size - 1)
        return start + offset, max(1, min(length, size - offset))

    def _wide_range(self):
        """Over zones and what lies between them."""
        random = self.simulation.random
        size = self.volume.info.size
        first, last = sorted(random.choice(self.simulation.zones.zones)[0] for _ in range(2))
        start = min(first + random.randrange(0, 64 * KIB, SECTOR), size - SECTOR)
        end = min(last + random.randrange(SECTOR, 64 * KIB + 1, SECTOR), size)
        if random.random() < 0.1:
            start, end = 0, size
        if end <= start:
            return start, SECTOR
        return start, end - start
