"""
The contract of object stores: what a volume may rely on, and how stores fail.

Keys are texts of ``/``-separated segments of ``a-z 0-9 . _ -`` (and whatever
the operator's prefix holds), at most 1,024 bytes as UTF-8. Keys sort by code
point. Objects are never changed: they are made once, read, and deleted.

A store answers through a ``Deferred`` and in no particular order. It is
consistent: what a put or a delete has answered is seen by every later get,
head and list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from gateway.interfaces import Buffer

#: Keys per page of a listing, and per delete.
PAGE = 1000


class StoreError(Exception):
    """
    A request to a store failed; the base of every kind below.

    Attributes:
        ids: what the store called the request, by fields of the log; empty
            where it said nothing. The text has them too.
    """

    ids: Mapping[str, str] = {}


class NotFound(StoreError):
    """There is no object of that name."""


class Exists(StoreError):
    """There is an object of that name, with other bytes than those that were to be put."""


class Transient(StoreError):
    """
    Not answered, or refused for now: time-out, lost connection, throttling.

    A put or delete that failed so may have taken effect, or take effect later.
    """


class Refused(StoreError):
    """
    Asking again will not help: credentials, no such bucket, wrong region, a full disk.

    The text says what was asked, what the store said, and what to look at; no secrets.
    """


class Garbled(StoreError):
    """The store's answer contradicts itself: fewer bytes than it announced, a wrong checksum."""


@attrs.frozen
class Listed:
    """
    One object in a listing.

    Attributes:
        key: in full.
        size: bytes.
        modified: seconds since 1970, by the store's clock.
    """

    key: str
    size: int
    modified: float


class IObjectStore(Interface):
    """A place for objects."""

    def put(key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        """
        Make an object of the joined ``parts``; answered when it is durable.

        Args:
            parts: valid and unchanging until the answer.
            if_absent: the store itself decides, atomically, that no object of
                that name exists; of any number of racing puts one succeeds.

        Raises:
            Exists: with ``if_absent`` only. An object with the very bytes
                that were to be put is success: it is our own earlier attempt.
            Transient, Refused: see there.
        """

    def get(key: str, start: int, length: int) -> Deferred[bytes]:
        """
        Returns:
            The bytes from ``start`` on, at most ``length``; fewer only at the
            object's end, none at all when ``start`` is at or beyond it.

        Raises:
            NotFound, Transient, Refused, Garbled.
        """

    def head(key: str) -> Deferred[Listed]:
        """
        Raises:
            NotFound, Transient, Refused.
        """

    def list(prefix: str, after: str) -> Deferred[list[Listed]]:
        """
        One page of the objects whose keys start with ``prefix`` and sort behind ``after``.

        Args:
            after: a key in full, existing or not; empty for the first page.

        Returns:
            In the order of keys, at most `PAGE`; fewer only at the end.
        """

    def delete(keys: Sequence[str]) -> Deferred[None]:
        """
        Remove objects, at most `PAGE`; one that does not exist is no failure.

        Raises:
            Transient, Refused: any number of them may be gone.
        """

    def describe() -> str:
        """Where the objects lie, for people; no secrets."""

    def close() -> Deferred[None]:
        """Let go of threads and connections; what is under way ends first or fails."""


class IBlockingStore(Interface):
    """
    The same calls for a thread: they return, or raise, when they are done.

    One attempt each: retries and threads are put around it. ``put`` may raise
    `Exists` for its own earlier attempt; see `backends.objects.retrying`.
    """

    def put(key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        """As in `IObjectStore`."""

    def get(key: str, start: int, length: int) -> bytes:
        """As in `IObjectStore`."""

    def head(key: str) -> Listed:
        """As in `IObjectStore`."""

    def list(prefix: str, after: str) -> list[Listed]:
        """As in `IObjectStore`."""

    def delete(keys: Sequence[str]) -> None:
        """As in `IObjectStore`."""

    def describe() -> str:
        """As in `IObjectStore`."""

    def close() -> None:
        """As in `IObjectStore`."""
