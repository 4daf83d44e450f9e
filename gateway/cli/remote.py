"""A volume that a running gateway has open: the contract of `IVolume` through its socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway.admin.wire import path
from gateway.cli.client import Client
from gateway.info import Collected, SnapshotInfo
from gateway.interfaces import IVolume


class RemoteGateway:
    """
    A gateway, asked in threads.

    Args:
        client: asks it; blocks.
        call_in_thread: runs what blocks.
    """

    def __init__(self, client: Client, call_in_thread: Callable[..., Deferred[Any]]) -> None:
        self._client = client
        self._call_in_thread = call_in_thread

    async def ask(self, method: str, *where: str, value: object = None) -> Any:
        """
        As `Client.ask`.

        Args:
            where: segments of the path.
        """
        return await self._call_in_thread(self._client.ask, method, path(*where), value)


@implementer(IVolume)
class RemoteVolume:
    """
    One export of it. Every call raises `gateway.cli.exits.Failure`.

    Args:
        gateway: that has it open.
        name: of the export.
    """

    def __init__(self, gateway: RemoteGateway, name: str) -> None:
        self._gateway = gateway
        self._name = name

    def snapshots(self) -> Deferred[list[SnapshotInfo]]:
        """As `IVolume.snapshots`."""

        async def listed() -> list[SnapshotInfo]:
            answer = await self._ask("GET", "snapshots")
            return [_snapshot(one) for one in answer["snapshots"]]

        return Deferred.fromCoroutine(listed())

    def take_snapshot(self, name: str) -> Deferred[SnapshotInfo]:
        """As `IVolume.take_snapshot`."""

        async def taken() -> SnapshotInfo:
            return _snapshot(await self._ask("POST", "snapshots", value={"name": name}))

        return Deferred.fromCoroutine(taken())

    def delete_snapshot(self, name: str) -> Deferred[None]:
        """As `IVolume.delete_snapshot`."""
        return Deferred.fromCoroutine(self._ask("DELETE", "snapshots", name))

    def roll_back(self, name: str) -> Deferred[None]:
        """As `IVolume.roll_back`."""
        return Deferred.fromCoroutine(self._ask("POST", "rollback", value={"snapshot": name}))

    def clone(self, snapshot: str, name: str) -> Deferred[None]:
        """As `IVolume.clone`."""
        wish = {"snapshot": snapshot, "name": name}
        return Deferred.fromCoroutine(self._ask("POST", "clones", value=wish))

    def grow(self, size: int) -> Deferred[None]:
        """As `IVolume.grow`."""
        return Deferred.fromCoroutine(self._ask("POST", "resize", value={"size": size}))

    def collect(self) -> Deferred[Collected]:
        """As `IVolume.collect`."""

        async def collected() -> Collected:
            answer = await self._ask("POST", "collect", value={})
            return Collected(answer["emptied"], answer["swept"])

        return Deferred.fromCoroutine(collected())

    def facts(self) -> Deferred[dict[str, int | str]]:
        """As `IVolume.facts`."""

        async def known() -> dict[str, int | str]:
            answer = await self._ask("GET")
            facts: dict[str, int | str] = answer.get("facts", {})
            return facts

        return Deferred.fromCoroutine(known())

    async def _ask(self, method: str, *where: str, value: object = None) -> Any:
        return await self._gateway.ask(method, "exports", self._name, *where, value=value)


def _snapshot(value: Any) -> SnapshotInfo:
    return SnapshotInfo(value["name"], value["size"], value["created"])
