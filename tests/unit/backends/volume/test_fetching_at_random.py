"""Reads in any order, over stores that answer in any order and badly: right bytes, or a reason."""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from backends.objects.contract import Garbled, Transient
from backends.objects.memory import MemoryStore
from backends.volume.environment import Environment
from backends.volume.fetching import Fetcher
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.header import Codec, Extent, Kind
from backends.volume.keys import Crypt
from backends.volume.lineage import Lineage, Member, Source
from backends.volume.names import Names
from backends.volume.processes import Process
from backends.volume.sealing import seal
from backends.volume.units import FRAME, FRAME_SECTORS, SECTOR
from backends.volume.values import DATA
from gateway.errors import Corrupt, StorageError
from tests.doubles.forwarded import ForwardedStore

FRAMES = 48
SOURCES = [Source(0, Kind.DATA, 0, 1), Source(0, Kind.MOVED, 2, 1), Source(1, Kind.DATA, 0, 1)]


@lru_cache
def plain_of(volume, source):
    return random.Random(f"{volume} {source}").randbytes((FRAMES - 1) * FRAME + 5 * SECTOR)


class Calls:
    """What waits to be done; the test draws what comes next."""

    def __init__(self):
        self.waiting = []

    def later(self, work, *args):
        told = Deferred()
        self.waiting.append(told)
        return told.addCallback(lambda _: work(*args))

    def do(self, rng):
        self.waiting.pop(rng.randrange(len(self.waiting))).callback(None)


class BadStore(ForwardedStore):
    """
    Attributes:
        badness: how often an answer is not what it should be.
        kinds: what it is then.
    """

    def __init__(self, store, calls, rng):
        self._store, self._calls, self._rng = store, calls, rng
        self.badness = 0.0
        self.kinds = ("transient", "garbled", "short", "long", "wrong")

    def _call(self, verb, *args):
        assert verb == "get"
        return self._calls.later(self._get, *args)

    def _get(self, key, start, length):
        return self._store.get(key, start, length).addCallback(self._spoilt)

    def _spoilt(self, data):
        if self._rng.random() >= self.badness:
            return data
        kind = self._rng.choice(self.kinds)
        if kind == "transient":
            raise Transient("503")
        if kind == "garbled":
            raise Garbled("fewer bytes than it announced")
        if kind == "short":
            return data[: self._rng.randrange(len(data) + 1)]
        if kind == "long" or not data:
            return data + b"?" * 1000
        wrong = bytearray(data)
        for _ in range(3):
            wrong[self._rng.randrange(len(wrong))] ^= 0xFF
        return bytes(wrong)


class Disk:
    """A disk cache that forgets, fails and lies."""

    def __init__(self, rng):
        self._rng = rng
        self._frames = {}

    def get(self, identity, frame):
        kind = self._rng.random()
        if kind < 0.05:
            raise OSError("EIO")
        found = self._frames.get((identity, frame))
        if found is None or kind < 0.1:
            return None
        return b"?" + found[1:] if kind < 0.2 else found

    def put(self, identity, frame, data):
        self._frames[identity, frame] = data


class Bench:
    """Two volumes with objects of the same names, in one memory."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.calls = Calls()
        self.memory = FrameMemory(rng.choice((0, 1, 5, 70, 300)) * FRAME)
        self.reads = []
        self.bad = {}
        self.volumes = [self._volume(number) for number in range(2)]

    def _volume(self, number):
        rng = self.rng
        objects = MemoryStore()
        store = BadStore(objects, self.calls, rng)
        key = rng.choice((None, rng.randbytes(32)))
        members = [
            Member(uuid, Names(name), key and Crypt(key, uuid))
            for uuid, name in ((bytes([7] * 16), "own"), (bytes([8] * 16), "old"))
        ]
        lineage = Lineage(members)
        environment = Environment(
            clock=Clock(),
            random=rng,
            secret_bytes=bytes,
            wall=lambda: 0,
            call_in_thread=lambda work, *args: (
                self.calls.later(work, *args) if rng.random() < 0.7 else execute(work, *args)
            ),
            process=Process("here"),
        )
        disk = Disk(rng) if rng.random() < 0.3 else None
        cache = FrameCache(self.memory)
        fetcher = Fetcher(store, lineage, cache, disk, environment)
        fetcher._objects._most = rng.choice((1, 100))
        for source in SOURCES:
            member, plain = lineage[source.volume], plain_of(number, source)
            moved = source.kind == Kind.MOVED
            sealed = seal(
                source.kind, member.uuid, bytes([9] * 16), source.epoch or 1,
                9 if moved else source.number, source.number if moved else 0,
                0, [Extent(0, len(plain) // SECTOR, DATA, 0)], [plain],
                rng.choice((Codec.NONE, Codec.ZSTD)), member.crypt,
            )  # fmt: skip
            body = bytearray(b"".join(sealed.parts))
            self.bad[number, source] = self._damage(sealed.header, body)
            objects.put(lineage.key(source), [body], True)
        return number, store, fetcher, cache

    def _damage(self, header, body):
        """Frames that are damaged for good, or behind the object's end."""
        bad = set()
        if self.rng.random() < 0.5:
            for frame in self.rng.sample(range(FRAMES), 3):
                body[header.frame_offset(frame) + 1] ^= 0xFF
                bad.add(frame)
        if self.rng.random() < 0.3:
            end = self.rng.randrange(FRAMES // 2, FRAMES)
            del body[header.frame_offset(end) + 1 :]
            bad.update(range(end, FRAMES))
        return bad

    def ask(self):
        rng = self.rng
        number, store, fetcher, cache = rng.choice(self.volumes)
        source = rng.choice(SOURCES)
        ranges = []
        sectors = len(plain_of(number, source)) // SECTOR
        near = rng.randrange(sectors)
        for _ in range(rng.randrange(1, 4)):
            start = min(max(near + rng.randrange(-2000, 2000), 0), sectors - 1)
            ranges.append((start, min(rng.choice((1, 8, 300, 3000)), sectors - start)))
        what = rng.random()
        if what < 0.2:
            done = []
            Deferred.fromCoroutine(fetcher.bring(source, ranges)).addBoth(done.append)
            self.reads.append((done, None, None, store))
        elif what < 0.4:
            for start, length in ranges:
                found = fetcher.cached(source, start, length)
                assert found is None or b"".join(found) == self.truth(number, source, start, length)
        else:
            answers = []
            Deferred.fromCoroutine(fetcher.read(source, ranges)).addBoth(answers.append)
            bad = any(
                frame in self.bad[number, source]
                for start, length in ranges
                for frame in range(start // FRAME_SECTORS, -(-(start + length) // FRAME_SECTORS))
            )
            right = [self.truth(number, source, *one) for one in ranges]
            self.reads.append((answers, right, bad, store))

    def truth(self, number, source, start, length):
        return plain_of(number, source)[start * SECTOR : (start + length) * SECTOR]

    def run(self, steps):
        for _ in range(steps):
            if self.calls.waiting and self.rng.random() < 0.6:
                self.calls.do(self.rng)
            else:
                self.ask()
        while self.calls.waiting:
            self.calls.do(self.rng)

    def nothing_is_left(self):
        """Neither who waits, nor a claim, nor more than there is room for."""
        for _, _, fetcher, _ in self.volumes:
            assert not fetcher._coming and not fetcher._first._waiting and not fetcher.busy
        held = [cache.bytes for _, _, _, cache in self.volumes]
        assert self.memory.bytes == sum(held) <= self.memory.limit
        assert all(len(answers) == 1 for answers, *_ in self.reads)


@pytest.mark.parametrize("seed", range(20))
def test_a_read_fails_just_when_what_it_wants_is_damaged(seed):
    """Whatever else is got with it, along, ahead, or for others."""
    bench = Bench(seed)
    bench.run(150)
    bench.nothing_is_left()
    for answers, right, bad, _ in bench.reads:
        if right is None:
            assert answers == [None]
        elif bad:
            assert answers[0].check(Corrupt)
        else:
            assert [b"".join(pieces) for pieces in answers[0]] == right


@pytest.mark.parametrize("seed", range(20))
def test_answers_that_are_wrong_now_and_then_make_no_byte_wrong(seed):
    """A read may fail then; nobody waits for ever, and nothing stays behind."""
    bench = Bench(1000 + seed)
    for _, store, _, _ in bench.volumes:
        store.badness = bench.rng.choice((0.02, 0.2, 0.6))
    bench.run(150)
    bench.nothing_is_left()
    for answers, right, _, _ in bench.reads:
        if right is None:
            assert answers == [None]
        elif hasattr(answers[0], "check"):
            assert answers[0].check(StorageError)
        else:
            assert [b"".join(pieces) for pieces in answers[0]] == right
