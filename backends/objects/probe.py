"""
Finding out whether a store keeps the promises of the contract, before a volume relies on them.

Some stores ignore ``If-None-Match``, or look for the name first and write
afterwards; some list what they had a while ago. None of that shows until two
gateways meet. So it is tried: in order, and 16 at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from backends.objects.contract import (
    Exists,
    Garbled,
    IObjectStore,
    NotFound,
    Refused,
    StoreError,
    Transient,
)
from backends.objects.probe_report import DANGERS, SKEW_LIMIT, Report
from backends.objects.s3_facts import Facts
from gateway.info import KIB

#: Puts at once in a race.
RACERS = 16
#: Races that count.
ROUNDS = 4
#: Races begun before the probe gives up on a store that does not answer all of them.
ATTEMPTS = 3 * ROUNDS

_RANGE_BYTES = 64 * KIB


def probe(
    store: IObjectStore,
    prefix: str,
    token: str,
    wall: Callable[[], float],
    facts: Callable[[], Deferred[Facts]] | None = None,
) -> Deferred[Report]:
    """
    Try the store, in about 110 small requests; what is made is deleted.

    Args:
        store: of single attempts, or with retries; those of a short deadline
            take less time to find a store wrong.
        prefix: where the probe's objects may lie.
        token: 16 or more characters of ``a-z 0-9`` that no other probe has.
        wall: seconds since 1970.
        facts: what the store says about itself, where it does.

    Raises:
        Refused, Transient: the store cannot be used, or not now; nothing was found out.
    """
    return Deferred.fromCoroutine(_Probe(store, f"{prefix}probe/{token}/", wall, facts).run())


class _Probe:
    """One probe under way."""

    def __init__(
        self,
        store: IObjectStore,
        folder: str,
        wall: Callable[[], float],
        facts: Callable[[], Deferred[Facts]] | None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._wall = wall
        self._facts = facts
        self._keys: list[str] = []
        self._seen: dict[str, str] = {}
        self._warnings: list[str] = []

    async def run(self) -> Report:
        try:
            # a store that cannot be used at all fails here, with its own words
            await self._store.put(self._key("plain"), [b"plain"], False)
            await self._listing()
            await self._ranges()
            if await self._condition():
                await self._races()
            if self._facts is not None:
                self._warnings += warnings_of(await self._facts())
        finally:
            await self._clean_up()
        unsafe = [name for name in DANGERS if name in self._seen]
        return Report(self._store.describe(), self._wall(), unsafe, self._seen, self._warnings)

    async def _condition(self) -> bool:
        """A name is given once. False if no put with a condition works at all."""
        key = self._key("condition")
        try:
            await self._store.put(key, [b"first"], True)
        except Exists:
            self._found("conditional-put", "a fresh name was refused as taken")
        except Refused as error:
            self._found("conditional-put", f"the store refuses them ({error})")
        if "conditional-put" in self._seen:
            self._found("race", "no put with a condition works")
            return False
        try:
            await self._store.put(key, [b"second"], True)
        except Exists:
            pass
        else:
            self._found("conditional-put", "a name that was taken was given again")
        if "conditional-put" not in self._seen and await self._read(key) != b"first":
            self._found("conditional-put", "a put that was refused changed the object")
        return True

    async def _races(self) -> None:
        """Of puts at once for a fresh name one succeeds, and its bytes are there."""
        counted = 0
        for number in range(ATTEMPTS):
            counted += await self._race(self._key(f"race-{number}"))
            if counted == ROUNDS or "race" in self._seen:
                return
        raise Transient(
            f"probe of {self._store.describe()}: of {ATTEMPTS} races {counted} were answered,"
            f" expected {ROUNDS}"
        )

    async def _race(self, key: str) -> bool:
        """False if it says nothing: some puts may have succeeded, or not."""
        bodies = [f"racer {number} for {key}".encode() for number in range(RACERS)]
        answers: list[tuple[bool, Any]] = await DeferredList(
            [self._store.put(key, [body], True) for body in bodies], consumeErrors=True
        )
        winners = []
        unknown = False
        for body, (succeeded, result) in zip(bodies, answers, strict=True):
            if succeeded:
                winners.append(body)
            elif result.check(Transient):
                unknown = True
            elif not result.check(Exists):
                result.raiseException()
        if len(winners) > 1:
            self._found("race", f"{len(winners)} of {RACERS} puts at once for one name succeeded")
            return True
        if unknown:
            return False
        if not winners:
            self._found("race", f"none of {RACERS} puts at once for a fresh name succeeded")
        elif await self._read(key) != winners[0]:
            self._found("race", "the object holds other bytes than those of the one that succeeded")
        return True

    async def _listing(self) -> None:
        """Listings see at once what was put and what was deleted."""
        key = self._key("listed")
        await self._store.put(key, [b"listed"], False)
        try:
            if not await self._is_listed(key):
                self._found("list-after-put", "an object that was put is not listed")
            await self._store.delete([key])
            if await self._is_listed(key):
                self._found("list-after-put", "an object that was deleted is still listed")
            await self._store.head(key)
        except NotFound:
            return
        except Garbled as error:
            self._found("list-after-put", f"the listing is wrong ({error})")
            return
        self._found("list-after-put", "an object that was deleted is still there")

    async def _is_listed(self, key: str) -> bool:
        return key in [item.key for item in await self._store.list(self._folder, "")]

    async def _ranges(self) -> None:
        """Any range is what it is, to the byte."""
        key = self._key("range")
        data = b"".join(
            hashlib.sha256(number.to_bytes(4, "big")).digest()
            for number in range(_RANGE_BYTES // 32)
        )
        await self._store.put(key, [data], False)
        size = len(data)
        for start, length in (
            (0, size),
            (0, 1),
            (1, 511),
            (4096, 4096),
            (size - 1, 1),
            (size - 100, 200),
            (size, 10),
            (size + 4096, 4096),
        ):
            try:
                got = await self._store.get(key, start, length)
            except (Garbled, Refused) as error:
                self._found("range", f"{length} bytes from {start} cannot be read ({error})")
                return
            if got != data[start : start + length]:
                self._found("range", f"{length} bytes from {start} were others than those put")
                return

    async def _read(self, key: str) -> bytes | None:
        try:
            return await self._store.get(key, 0, KIB)
        except (Garbled, NotFound):
            return None

    async def _clean_up(self) -> None:
        try:
            await self._store.delete(self._keys)
        except StoreError:
            self._warnings.append(f"objects of the probe were left at {self._folder}")

    def _key(self, name: str) -> str:
        key = self._folder + name
        self._keys.append(key)
        return key

    def _found(self, name: str, seen: str) -> None:
        self._seen.setdefault(name, seen)


def warnings_of(facts: Facts) -> list[str]:
    """What an operator should be told of a store that is safe."""
    found = []
    if facts.versioning in ("enabled", "suspended"):
        found.append(
            f"versioning of the bucket is {facts.versioning}: what is deleted may be kept as an"
            " older version, and be paid for, until a lifecycle rule removes it"
        )
    if facts.object_lock == "on":
        found.append(
            "the bucket has object lock: what is deleted is kept as long as its retention says"
        )
    if facts.skew is not None and abs(facts.skew) > SKEW_LIMIT:
        ahead = "ahead of" if facts.skew > 0 else "behind"
        found.append(
            f"this machine's clock is {abs(facts.skew):.0f} seconds {ahead} the store's: requests"
            " are refused when they differ by 15 minutes"
        )
    return found
