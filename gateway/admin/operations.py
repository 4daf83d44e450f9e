"""What an operator can do with the exports of a running gateway, whatever asks for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from gateway.errors import ExportBusy, ExportUnavailable, UnknownExport
from gateway.exports import ExportTable
from gateway.info import Collected, SnapshotInfo
from gateway.interfaces import IExport, IVolume
from gateway.measures import IMeasured
from gateway.offers import Offer
from gateway.traffic import Connections, Traffic

T = TypeVar("T")


class NotAVolume(Exception):
    """The export is none that an operator can do this with."""


class Refused(Exception):
    """The export is open, and does not do it; the text says why."""


@attrs.frozen
class ExportStatus:
    """
    An export as it is now.

    Attributes:
        provider: the name of its storage provider.
        storage: where the bytes live, in one line.
        read_only: by its configuration.
        is_open: storage is held open for it.
        is_volume: the operations below can be done with it; not known, and so
            False, while it is not open.
        size: bytes; None while it is not open.
        clients: who uses it. All who read one of its snapshots count as one.
        facts: see `IVolume.facts`; None where nobody asked or there are none.
        traffic: what clients did since the gateway started; None where nobody counts.
        trouble: why changes fail; None while they do not.
    """

    name: str
    description: str
    provider: str
    storage: str
    read_only: bool
    is_open: bool
    is_volume: bool
    size: int | None
    clients: int
    facts: dict[str, int | str] | None = None
    traffic: Traffic | None = None
    trouble: str | None = None


class Operations:
    """
    Done one call at a time or many; what must not overlap is for volumes to know.

    Every operation on a name raises, beside its own errors and kinds of
    `gateway.errors.StorageError`:

        UnknownExport: no export, or no snapshot, has that name.
        NotAVolume: the export is none.
        ExportBusy: somebody else needs what this would take away.
        ExportUnavailable: the export could not be opened, with the reason.
        Refused: the volume does not do it, with the reason.

    Args:
        table: the exports, across reloads.
        clients: who counts what is done; None if nobody does.
    """

    def __init__(self, table: ExportTable, clients: Connections | None = None) -> None:
        self._table = table
        self._clients = clients

    def exports(self) -> list[ExportStatus]:
        """All of them, in the configured order; nothing is opened for it."""
        return [self._status(offer) for offer in self._table.offers()]

    async def export(self, name: str) -> ExportStatus:
        """One of them, with its facts if it is open."""
        offer = self._offer(name)
        status = self._status(offer)
        if status.is_volume:
            facts = await self._with(name, lambda volume: volume.facts())
            status = attrs.evolve(self._status(offer), facts=facts)
        return status

    async def snapshots(self, name: str) -> list[SnapshotInfo]:
        """As `IVolume.snapshots`."""
        return await self._with(name, lambda volume: volume.snapshots())

    async def take_snapshot(self, name: str, snapshot: str) -> SnapshotInfo:
        """As `IVolume.take_snapshot`."""
        return await self._with(name, lambda volume: volume.take_snapshot(snapshot))

    async def delete_snapshot(self, name: str, snapshot: str) -> None:
        """As `IVolume.delete_snapshot`."""
        await self._with(name, lambda volume: volume.delete_snapshot(snapshot))

    async def roll_back(self, name: str, snapshot: str) -> None:
        """
        As `IVolume.roll_back`; who connects meanwhile waits.

        Raises:
            ExportBusy: a client uses the export. None is cut off for this.
        """
        await self._with(name, lambda volume: volume.roll_back(snapshot), alone=True)

    async def clone(self, name: str, snapshot: str, clone: str) -> None:
        """As `IVolume.clone`."""
        await self._with(name, lambda volume: volume.clone(snapshot, clone))

    async def grow(self, name: str, size: int) -> None:
        """As `IVolume.grow`."""
        await self._with(name, lambda volume: volume.grow(size))

    async def collect(self, name: str) -> Collected:
        """As `IVolume.collect`."""
        return await self._with(name, lambda volume: volume.collect())

    async def reopen(self, name: str) -> ExportStatus:
        """
        As `SharedExport.reopen`; of any export, volume or not.

        Raises:
            ExportBusy: a client uses the export. None is cut off for this.
        """
        await self._offer(name).reopen()
        return await self.export(name)

    async def _with(
        self, name: str, do: Callable[[IVolume], Awaitable[T]], alone: bool = False
    ) -> T:
        offer = self._offer(name)

        async def operate(export: IExport) -> T:
            if not IVolume.providedBy(export):
                why = "it is read-only" if offer.spec.read_only else "its storage is no volume"
                raise NotAVolume(f"export {name} has no snapshots and cannot be changed: {why}")
            try:
                return await do(export)
            except ExportBusy:
                raise
            except ExportUnavailable as error:
                # It is open: what it did not do is no reason to try again.
                raise Refused(str(error)) from error

        return await offer.operate(operate, alone)

    def _status(self, offer: Offer) -> ExportStatus:
        if self._clients is None:
            return _status(offer)
        return attrs.evolve(_status(offer), traffic=self._clients.total_of(offer.name))

    def _offer(self, name: str) -> Offer:
        offer = self._table.configured(name)
        if offer is None:
            raise UnknownExport(f"there is no export {name[:100]!r}")
        return offer


def _status(offer: Offer) -> ExportStatus:
    export = offer.export
    return ExportStatus(
        name=offer.name,
        description=offer.description,
        provider=offer.spec.provider.name,
        storage=offer.spec.summary,
        read_only=offer.spec.read_only,
        is_open=export is not None,
        is_volume=export is not None and IVolume.providedBy(export),
        size=None if export is None else export.info.size,
        clients=offer.users,
        trouble=export.trouble() if IMeasured.providedBy(export) else None,
    )
