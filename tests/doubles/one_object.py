"""One object of 64 frames, and what reads it."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

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
from gateway.info import MIB
from tests.doubles.held_store import HeldStore

UUID, PARENT, WRITER = bytes([7] * 16), bytes([8] * 16), bytes([9] * 16)
SLOT = Source(0, Kind.DATA, 0, 3)
#: Frames that do not come along with the header.
FAR = 40


class Host:
    """
    One object of 64 frames of data that does not compress.

    Attributes:
        in_thread: does what is for a thread.
    """

    def __init__(self, holds=(), codec=Codec.NONE, key=None, disk=None, cache=64 * MIB):
        self.objects = MemoryStore()
        self.store = HeldStore(self.objects, holds)
        self.crypt = None if key is None else Crypt(key, UUID)
        parent = None if key is None else Crypt(key[::-1], PARENT)
        members = [Member(UUID, Names("own"), self.crypt), Member(PARENT, Names("old"), parent)]
        self.lineage = Lineage(members)
        self.codec = codec
        self.in_thread = maybeDeferred
        environment = Environment(
            clock=Clock(),
            random=random.Random(1),
            secret_bytes=bytes,
            wall=lambda: 0,
            call_in_thread=lambda *args: self.in_thread(*args),
            process=Process("here"),
        )
        self.memory = FrameCache(FrameMemory(cache))
        self.fetcher = Fetcher(self.store, self.lineage, self.memory, disk, environment)
        self.disk = disk
        self.data = random.Random(5).randbytes(64 * FRAME - SECTOR)
        self.make(SLOT, self.data)

    def make(self, source, plain):
        member = self.lineage[source.volume]
        moved = source.kind == Kind.MOVED
        extent = Extent(0, len(plain) // SECTOR, DATA, 0)
        self.sealed = seal(
            source.kind, member.uuid, WRITER, source.epoch or 1,
            9 if moved else source.number, source.number if moved else 0,
            0, [extent], [plain], self.codec, member.crypt,
        )  # fmt: skip
        self.objects.put(self.lineage.key(source), self.sealed.parts, False)

    def body(self):
        got = []
        self.objects.get(self.lineage.key(SLOT), 0, 1 << 30).addCallback(got.append)
        return bytearray(got[0])

    def damage(self, at, length=1):
        body = self.body()
        for position in range(at, at + length):
            body[position] ^= 0x55
        self.objects.put(self.lineage.key(SLOT), [body], False)

    def damage_frame(self, number):
        self.damage(self.sealed.header.frame_offset(number) + 11)

    def read(self, *frames, source=SLOT):
        """What a read of whole frames came to: a list that gets the bytes."""
        answers = []
        ranges = [(frame * FRAME_SECTORS, FRAME_SECTORS) for frame in frames]
        Deferred.fromCoroutine(self.fetcher.read(source, ranges)).addCallback(
            lambda found: [b"".join(pieces) for pieces in found]
        ).addBoth(answers.append)
        return answers

    def frame(self, number):
        return self.data[number * FRAME : (number + 1) * FRAME]

    def gets(self):
        return sum(verb == "get" for verb, _ in self.store.calls)


def failed_with(answers, kind):
    return len(answers) == 1 and getattr(answers[0], "check", lambda _: None)(kind) is kind
