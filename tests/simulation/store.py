"""An object store that keeps the contract of `IObjectStore`, and makes the most of its freedom."""

from __future__ import annotations

import zlib
from hashlib import sha256

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from backends.objects.contract import (
    PAGE,
    Exists,
    Garbled,
    IObjectStore,
    Listed,
    NotFound,
    StoreError,
    Transient,
)
from tests.simulation.faults import CALM

#: What a put or delete under way may still do when its process has died.
_LAST_WISHES = ("now", "on time", "on time", "late", "twice", "never")


@attrs.frozen
class Stored:
    """One object's bytes, and when it was made."""

    data: bytes
    modified: float


class SimulatedStore:
    """
    The objects as they are; processes reach them through clients.

    Args:
        clock: a `VirtualTime`.
        random: decides what happens to each request.

    Attributes:
        objects: by key.
        faults: in force for every client.
        trace: what happened, in order: the identity of a run.
        violations: of the contract, by those who call; one text each.
        rotten: keys of objects whose bytes are no longer what was put.
        sacred: says of a key and bytes that nobody may ever delete the object, unless it came
            too late, into the place of one that was there and had been deleted.
    """

    def __init__(self, clock, random):
        self.clock = clock
        self.random = random
        self.objects = {}
        self.faults = CALM
        self.trace = []
        self.violations = []
        self.rotten = set()
        self.sacred = lambda key, data: False
        self.known = set()
        self.late = set()
        self._requests = 0
        self._down_until = 0.0

    def client(self, name):
        """The store as one process sees it."""
        return Client(self, name)

    def note(self, *what):
        """Add to the trace."""
        self.trace.append((round(self.clock.seconds(), 6), *what))

    def fingerprint(self):
        """A hash of the trace."""
        return sha256(repr(self.trace).encode()).hexdigest()

    def calm_down(self):
        """From now on nothing fails; what is on its way may still arrive late."""
        self.faults = CALM
        self._down_until = 0.0

    def is_down(self):
        """Whether requests fail now because of an outage; may begin one."""
        faults = self.faults
        if faults.outage and self.random.random() < faults.outage:
            self._down_until = self.clock.seconds() + self.random.uniform(*faults.outage_seconds)
            self.note("outage until", round(self._down_until, 3))
        return self.clock.seconds() < self._down_until

    def rot(self, key, how):
        """
        Damage an object: ``flip`` a bit, ``truncate`` it, or make it ``vanish``.
        """
        stored = self.objects[key]
        self.note("rot", key, how)
        self.rotten.add(key)
        if how == "vanish":
            del self.objects[key]
        elif how == "truncate":
            cut = self.random.randrange(len(stored.data)) if stored.data else 0
            self.objects[key] = Stored(stored.data[:cut], stored.modified)
        elif stored.data:
            self.objects[key] = Stored(self.flipped(stored.data), stored.modified)

    def flipped(self, data):
        """The bytes with one bit changed."""
        bit = self.random.randrange(8 * len(data))
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        return bytes(damaged)

    def spoilt(self, stored, start, length):
        """Something else than what was asked for; it may be right by chance."""
        data = stored[start : start + length]
        how = self.random.choice(("flip", "flip", "garble", "short", "long", "elsewhere"))
        if how == "flip":
            return self.flipped(data)
        if how == "garble":
            at = self.random.randrange(len(data))
            noise = self.random.randbytes(min(4096, len(data) - at))
            return data[:at] + noise + data[at + len(noise) :]
        if how == "short":
            return data[: self.random.randrange(len(data))]
        if how == "long":
            return data + b"?" * 999
        at = self.random.randrange(len(stored))
        return stored[at : at + length]

    def copy(self, prefix, to):
        """Whatever is there under a prefix is there under another as well."""
        self.note("copy", prefix, to)
        for key in [key for key in self.objects if key.startswith(f"{prefix}/")]:
            self.objects[to + key[len(prefix) :]] = self.objects[key]

    def next_number(self):
        self._requests += 1
        return self._requests


class Request:
    """
    One request on its way.

    Attributes:
        number: counts all requests of a run.
        effect: does it, and returns the answer or raises `StoreError`.
        changes: a put or a delete: what may take effect late, or twice.
        coming: the `DelayedCall` of the effect, or None if it was already, or never comes.
    """

    __slots__ = ("answer", "changes", "coming", "effect", "fate", "key", "kind", "number")

    def __init__(self, number, kind, key, effect):
        self.number = number
        self.kind = kind
        self.key = key
        self.effect = effect
        self.changes = kind in ("put", "delete")
        self.fate = "ok"
        self.coming = None
        self.answer = Deferred()


@implementer(IObjectStore)
class Client:
    """
    The store as one process sees it, until the process is killed.

    Attributes:
        name: of the process, in the trace.
        unanswered: requests by number, in the order in which they were made.
        before_step: called ahead of each effect and each answer; may kill.
    """

    def __init__(self, store, name):
        self.name = name
        self.unanswered = {}
        self.before_step = _nothing
        self._store = store
        self._clock = store.clock
        self._dead = False
        self._cut_off_until = 0.0
        self._wrong = set()

    def put(self, key, parts, if_absent):
        parts = list(parts)
        data = b"".join(parts)
        store = self._store
        request = None

        def effect():
            if request.number in self.unanswered and b"".join(parts) != data:
                store.violations.append(f"put {key}: the parts changed before the answer")
            there = store.objects.get(key)
            if there is not None:
                if if_absent:
                    raise Exists(key)
                if there.data != data and key not in store.rotten:
                    store.violations.append(f"put {key}: there is another object of that name")
            if key in store.known and there is None:
                store.late.add(key)
            store.known.add(key)
            store.objects[key] = Stored(data, store.clock.seconds())

        request = self._request("put", key, effect, len(data), zlib.crc32(data), if_absent)
        return request.answer

    def get(self, key, start, length):
        store = self._store

        def effect():
            stored = store.objects.get(key)
            if stored is None:
                raise NotFound(key)
            data = stored.data[start : start + length]
            if store.faults.flip and data and store.random.random() < store.faults.flip:
                return store.flipped(data)
            if store.faults.wrong and data and key not in self._wrong:
                if store.random.random() < store.faults.wrong:
                    self._wrong.add(key)
                    store.note("wrong", self.name, key)
                    return store.spoilt(stored.data, start, length)
            return data

        return self._request("get", key, effect, start, length).answer

    def head(self, key):
        def effect():
            stored = self._store.objects.get(key)
            if stored is None:
                raise NotFound(key)
            return Listed(key, len(stored.data), stored.modified)

        return self._request("head", key, effect).answer

    def list(self, prefix, after):
        def effect():
            objects = self._store.objects
            keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
            return [Listed(key, len(objects[key].data), objects[key].modified) for key in keys][
                :PAGE
            ]

        return self._request("list", prefix, effect, after).answer

    def delete(self, keys):
        keys = list(keys)
        store = self._store
        assert len(keys) <= PAGE
        request = None

        def effect():
            part = request.fate == "fail_after" and store.random.random() < 0.5
            for key in keys:
                if not part or store.random.random() < 0.5:
                    gone = store.objects.pop(key, None)
                    if gone and key not in store.late and store.sacred(key, gone.data):
                        store.violations.append(f"delete {key}: it has to stay for ever")

        request = self._request("delete", ",".join(keys), effect)
        return request.answer

    def describe(self):
        return "simulated"

    def close(self):
        closed = Deferred()
        if not self._dead:
            closed.callback(None)
        return closed

    def cut_off(self, seconds):
        """
        For that long, nothing of this process arrives; what is under way arrives behind that.
        """
        self._cut_off_until = self._clock.seconds() + seconds
        self._store.note("cut off", self.name, round(seconds, 3))
        for request in self.unanswered.values():
            if request.coming is not None and request.coming.active():
                request.coming.reset(seconds + self._store.random.uniform(0, 0.2))

    def kill(self):
        """
        Deliver nothing any more. What is under way may still take effect: now, on time,
        late, twice, or never.
        """
        self._dead = True
        store = self._store
        for request in list(self.unanswered.values()):
            if not request.changes or request.coming is None or not request.coming.active():
                continue
            wish = store.random.choice(_LAST_WISHES)
            store.note("dying", self.name, request.number, wish)
            if wish == "on time":
                continue
            request.coming.cancel()
            if wish in ("now", "twice"):
                self._apply(request)
            if wish in ("late", "twice"):
                self._later(request)
        self._kept = list(self.unanswered.values())  # see `MortalTime`
        self.unanswered.clear()

    def _request(self, kind, key, effect, *details):
        store = self._store
        request = Request(store.next_number(), kind, key, effect)
        if self._dead:
            return request
        store.note(self.name, request.number, kind, key, *details)
        self.unanswered[request.number] = request
        random, faults = store.random, store.faults
        delay = random.uniform(*faults.latency)
        if faults.slow and random.random() < faults.slow:
            delay = random.uniform(*faults.slow_seconds)
        cut_off = self._clock.seconds() < self._cut_off_until
        request.fate = "refuse" if cut_off or store.is_down() else _fate(random.random(), faults)
        if request.fate == "refuse":
            self._clock.callLater(
                delay, self._deliver, request, Failure(Transient("503 slow down"))
            )
        elif request.fate == "lose":
            if request.changes and random.random() < 0.6:
                self._later(request)
            self._clock.callLater(
                faults.time_out, self._deliver, request, Failure(Transient("no answer"))
            )
        else:
            request.coming = self._clock.callLater(delay, self._arrive, request)
            if request.fate == "duplicate" and request.changes:
                self._clock.callLater(random.uniform(*faults.late), self._apply, request)
        return request

    def _later(self, request):
        late = self._store.random.uniform(*self._store.faults.late)
        if self._store.random.random() < 0.5:
            late = self._store.random.uniform(0, 2.0)  # soon, so that it falls into a take-over
        request.coming = self._clock.callLater(late, self._apply, request)

    def _arrive(self, request):
        """The effect, and the way back."""
        if not self._dead:
            self.before_step()
            if self._dead and self._store.random.random() < 0.5:
                self._later(request)
                return
        result = self._apply(request)
        if self._dead:
            return
        store = self._store
        if request.fate == "fail_after":
            result = Failure(Transient("connection reset"))
        elif request.fate == "garble" and request.kind == "get":
            result = Failure(Garbled("fewer bytes than announced"))
        self._clock.callLater(
            store.random.uniform(*store.faults.latency), self._deliver, request, result
        )

    def _apply(self, request):
        request.coming = None
        try:
            result = request.effect()
            outcome = "done"
        except StoreError as error:
            result = Failure(error)
            outcome = type(error).__name__
        self._store.note("effect", self.name, request.number, request.kind, request.key, outcome)
        return result

    def _deliver(self, request, result):
        if self._dead:
            return
        self.before_step()
        if self._dead:
            return
        del self.unanswered[request.number]
        failed = isinstance(result, Failure)
        self._store.note("answer", request.number, type(result.value).__name__ if failed else "ok")
        if not request.answer.called:
            request.answer.callback(result)


def _fate(drawn, faults):
    """What a number from 0 to 1 means."""
    for name in ("refuse", "fail_after", "lose", "duplicate", "garble"):
        drawn -= getattr(faults, name)
        if drawn < 0:
            return name
    return "ok"


def _nothing():
    """Nobody wants to know."""
