"""
The law between protocols and storage: what an export is, and who makes one.

Conventions. Offsets and lengths are ints in bytes. Every call comes on the
reactor thread. Calls overlap: a second one may come before the first has
answered. The caller has checked range, alignment, read-only and abilities; an
export asserts at most.

``NowOrLater[T]`` is a ``T``, or a ``Deferred`` that fires with one. An answer
given now fails by raising; one given later fails through its ``Deferred``.
Failures are kinds of `gateway.errors.StorageError`; anything else is a bug and
reaches the client as an I/O error with a traceback in the log.

Order. Two overlapping calls that are both unanswered may take effect in
either order, but never mixed inside one block of 512 bytes, and a call made
after another was answered sees its effect. Writes that were handed in earlier
never land on top of overlapping ones handed in later.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from gateway.info import Change, Collected, ExportInfo, Extent, SnapshotInfo

T = TypeVar("T")
NowOrLater: TypeAlias = "T | Deferred[T]"
Buffer: TypeAlias = "bytes | bytearray | memoryview"


class IExport(Interface):
    """An open disk."""

    info: ExportInfo = Attribute(
        "an `ExportInfo`, constant while the export is open, but for a size that `IVolume.grow` "
        "makes larger: whoever asked before stays within what was said then"
    )

    def read_into(offset: int, buffer: memoryview) -> bool:
        """
        Fill ``buffer`` from ``offset`` if that takes no waiting.

        Returns:
            True when every byte of ``buffer`` was written. False when it
            would have to wait: then the buffer holds nothing of value, no
            reference to it is kept, and the caller uses `read`.
        """

    def read(offset: int, length: int) -> NowOrLater[Buffer]:
        """
        Returns:
            Exactly ``length`` bytes; what was never written reads as zeroes.
            The caller does not change them.

        Raises:
            Unavailable: the store failed or came up short.
            Corrupt: the store returned something else than was written.
        """

    def write(offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        """
        Answered when every reader sees ``data``; with ``fua``, when it is durable.

        Args:
            data: valid and unchanging until the result is delivered.

        Raises:
            NoSpace: nothing outside the range was changed.
            Unavailable, Fenced: the range may hold old or new bytes.
        """

    def write_zeroes(
        offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        """
        Make the range read as zeroes without sending zeroes to the store.

        Args:
            may_trim: the range may become a hole. Otherwise space for it
                must be set aside: later writes there do not fail for space.
            fast: the client would rather write than wait.

        Raises:
            NotFast: raised now, and with nothing changed: the export has no
                way that beats writing zeroes. A plain request may be answered
                so as well; the caller then writes them. A fast request alone
                may also fail so later, when the store refuses, before it has
                changed anything, what it had promised.
        """

    def trim(offset: int, length: int, fua: bool) -> NowOrLater[None]:
        """
        A hint that the range is not needed; may be ignored in whole or part.

        What is trimmed reads as zeroes from then on, also after a restart;
        what is not keeps its bytes. Never reaches outside the range.
        """

    def flush() -> NowOrLater[None]:
        """
        Make durable every change answered before this call.

        Raises:
            Unavailable: changes were lost; every later flush fails as well.
        """

    def extents(offset: int, length: int, first_only: bool) -> NowOrLater[list[Extent]]:
        """
        Returns:
            The state of the bytes from ``offset`` on, neighbours merged: at
            least one extent. They may cover less than ``length``; only the
            last may reach beyond it, and none beyond the export's end. With
            ``first_only``, just the first.
        """

    def cache(offset: int, length: int) -> NowOrLater[None]:
        """A hint that the range will be read soon."""

    def close() -> NowOrLater[None]:
        """
        Flush, release everything, and answer. Calling twice is allowed;
        after it every other call raises `Closed`.
        """


class IChangedBlocks(Interface):
    """What an `IExport` may provide as well: where it was changed since some point in time."""

    def references() -> list[str]:
        """
        The points in time since which changes are known, as of now: names,
        of snapshots for example, each once and in an order that only changes
        as names come and go. Not empty, no NUL.
        """

    def changed(
        reference: str, offset: int, length: int, first_only: bool
    ) -> NowOrLater[list[Change]]:
        """
        Args:
            reference: one that `references` once named.

        Returns:
            The bytes from ``offset`` on, compared with ``reference``; how
            far, and with ``first_only``, as for `IExport.extents`.

        Raises:
            Unavailable: the reference is gone, or the store failed.
        """


class IDerivedExports(Interface):
    """What an `IExport` may provide as well: exports that derive from it, such as its snapshots."""

    def derived(name: str) -> NowOrLater[IExport]:
        """
        Open the export that protocols offer as ``EXPORT@name``.

        Returns:
            An export whose `ExportInfo` says read-only. The caller closes it,
            before this one.

        Raises:
            UnknownExport: nothing of that name derives from this export.
            ExportUnavailable: with the reason.
        """


class IVolume(Interface):
    """
    What an `IExport` may provide as well: what its operator can do with the disk while it is open.

    Everything answers when it is done and durable, and fails, beside what is
    said below, with kinds of `gateway.errors.StorageError`. Calls overlap;
    those that must not are done one after the other.
    """

    def snapshots() -> Deferred[list[SnapshotInfo]]:
        """Those that can be read, the oldest first."""

    def take_snapshot(name: str) -> Deferred[SnapshotInfo]:
        """
        Keep the disk as it is, with every change that was answered before this call.

        Raises:
            ExportUnavailable: the name is taken, or cannot be one.
        """

    def delete_snapshot(name: str) -> Deferred[None]:
        """
        Raises:
            UnknownExport: there is no such snapshot.
            ExportBusy: it is being read, or something else needs it.
        """

    def roll_back(name: str) -> Deferred[None]:
        """
        Make the disk what it was. The caller sees to it that nobody uses the
        export until this is answered; what was handed in before, answered or not,
        does not come after it. The disk's size stays, and so do snapshots.

        Raises:
            UnknownExport: there is no such snapshot.
        """

    def clone(snapshot: str, name: str) -> Deferred[None]:
        """
        Make a volume that starts as a snapshot of this one and lies beside it, in the same store.

        Args:
            name: where in the store, as its own export's settings will call it.

        Raises:
            UnknownExport: there is no such snapshot.
            ExportUnavailable: the name is taken, or cannot be one.
        """

    def grow(size: int) -> Deferred[None]:
        """
        Args:
            size: bytes, not less than there are.

        Raises:
            ExportUnavailable: the disk cannot have that size.
        """

    def collect() -> Deferred[Collected]:
        """Give space back to the store that nothing needs any more."""

    def facts() -> Deferred[dict[str, int | str]]:
        """What is cheap to know, for people and graphs; the keys of numbers tell their unit."""


def _to_nobody(export: str, words: str) -> None:
    """The default of `Resources.tell`."""


@attrs.frozen
class Resources:
    """
    What the gateway lends a storage provider; passed in so that tests can lend fakes.

    Attributes:
        reactor: a Twisted reactor, for time and callbacks.
        call_in_thread: runs a blocking function elsewhere and answers with a
            ``Deferred`` of its result.
        state_dir: an absolute path for files that must survive a restart; a
            provider that needs the directory makes it.
        tell: says what an export, called by its name, is busy with while it
            is opened or closed, in a few words for people; empty words when
            that is over. Called as often as there is something new.
    """

    reactor: Any
    call_in_thread: Callable[..., Deferred[Any]]
    state_dir: str
    tell: Callable[[str, str], None] = _to_nobody


class IStorageProvider(Interface):
    """
    A way to make exports: ``provider = NAME`` in a configuration section.

    Providers hold no state and open nothing when they are made: the process
    forks after that. A third party ships one as a Twisted plugin: an object
    in ``twisted/plugins`` that provides this and ``twisted.plugin.IPlugin``.
    """

    name: str = Attribute("what ``provider =`` says; lower case")

    settings: type = Attribute(
        "an attrs class whose fields are the section's further keys; see `gateway.settings`"
    )

    def problems(settings: Any, read_only: bool) -> list[str]:
        """
        What can be found wrong without opening anything for writing, one
        text each, as ``key: got ..., expected ...``.
        """

    def identity(settings: Any) -> Hashable | None:
        """
        What the export will hold: two exports that answer alike are refused.
        None where any number may be opened.
        """

    def describe(settings: Any) -> str:
        """One line for the operator: where the bytes live. No secrets."""

    def open_export(
        name: str, settings: Any, read_only: bool, resources: Resources
    ) -> NowOrLater[IExport]:
        """
        Raises:
            ExportBusy: another holder.
            ExportUnavailable: with the reason.
        """


class IVolumeProvider(IStorageProvider):
    """A provider whose exports provide `IVolume` unless they are read-only."""


class IOffer(Interface):
    """One export as it is offered to clients, open or not."""

    name: str = Attribute("the canonical name, as LIST shows it")

    description: str = Attribute("one line for people; empty if there is none")

    tls_only: bool = Attribute("never offered in clear text")

    def admits(names: frozenset[str]) -> bool:
        """
        Args:
            names: what the peer's TLS handshake proved, such as
                ``cn:vm17`` or ``psk:alice``; empty without such proof.
        """

    def open() -> NowOrLater[IExport]:
        """
        The export, opened at most once and shared among all who ask.

        Raises:
            ExportUnavailable: with the reason; a later call tries again.
            UnknownExport: only asking showed that there is no such export.
        """

    def release() -> None:
        """
        The caller is done with the export; due once for each `open` that
        succeeded. An export that is no longer offered closes at the last one.
        """


class IExportSource(Interface):
    """The exports that one listener offers."""

    def offers() -> list[Any]:
        """Every `IOffer`, in the configured order."""

    def offer(name: str) -> Any:
        """
        The `IOffer` called ``name``; the empty name means the default.

        Raises:
            UnknownExport: nothing is offered under that name.
        """
