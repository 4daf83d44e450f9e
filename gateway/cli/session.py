"""
What every command works with: the place of a volume, the gateway that may have it, a screen.

A command is ``async def run(session, given) -> Done``. It gets

- ``session.address(text)``: what ADDRESS means, checked; no store is asked;
- ``session.place(address)``: an `IVolumePlace`, for what is done at rest;
- ``session.volume(address)``: ``async with`` an `IVolume`, for what changes it: of the gateway
  that has it open, or else taken over and given back when the block ends;
- ``session.export(address, snapshot)``: ``async with`` an `IExport`, to be read;
- ``session.moment(address, why)``: ``async with`` the name of a snapshot, taken for the time;
- ``session.uri(name)``: where the running gateway serves an export;
- ``session.gateway()``: the running gateway, or a failure that says that there is none;
- ``session.progress(what, kept)``: ``with`` a `Progress`; Ctrl-C stops the work at its next call.

What is raised by storage becomes an exit status in `gateway.cli.exits`.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from twisted.internet.defer import maybeDeferred

from gateway.admin.wire import Cause
from gateway.cli import address as addresses
from gateway.cli import progress
from gateway.cli.address import Address
from gateway.cli.client import Client
from gateway.cli.exits import Failure, wrong
from gateway.cli.remote import RemoteGateway, RemoteVolume
from gateway.cli.running import Runtime
from gateway.interfaces import IExport, IVolume, Resources
from gateway.local_uri import local_uri
from gateway.maintenance import IVolumePlace, Progress
from gateway.providers import Providers

_GOES_ON = "not waited for; the gateway goes on with it"
_TAKEN_OVER = "ended at once: what was answered is kept, and the volume is opened as after a crash"


class Session:
    """
    One command at work.

    Args:
        given: what the command line says.
        runtime: lent.
        providers: where providers are looked up.
    """

    def __init__(
        self, given: Namespace, runtime: Runtime, providers: Providers | None = None
    ) -> None:
        self.given = given
        self.runtime = runtime
        self._providers = providers or Providers()

    def address(self, text: str, whole: bool = False) -> Address:
        """
        What ADDRESS means.

        Args:
            whole: a store without a volume will do.

        Raises:
            Failure, ConfigurationError, UnknownExport: see `gateway.cli.address`.
        """
        found = addresses.resolve(text, self.given, self._providers, whole)
        if found.whole and not whole:
            raise wrong(f"{found.text}: expected a volume in that store, such as {found.text}/vm1")
        return found

    def check_writable(self, address: Address) -> None:
        """
        Raises:
            Failure: the configuration says that the export is only read.
        """
        if address.read_only:
            raise addresses.not_a_volume(address.text, "it is read-only")

    def names(self) -> list[str]:
        """The exports of the configuration that are volumes."""
        return addresses.names(self.given, self._providers)

    def place(self, address: Address, settings: Any = None) -> IVolumePlace:
        """
        Where the volume lies.

        Args:
            settings: instead of those of the address.
        """
        used = address.settings if settings is None else settings
        place: IVolumePlace = address.provider.place(used, self.resources(address))
        return place

    def resources(self, address: Address) -> Resources:
        """What a provider is lent."""
        return Resources(self.runtime.reactor, self.runtime.call_in_thread, address.state_dir)

    def gateway(self) -> RemoteGateway:
        """The gateway of the configuration; asking it fails if it does not run."""
        client = Client(addresses.socket_path(self.given))
        return RemoteGateway(client, self.runtime.call_in_thread)

    def state_dir(self) -> str:
        """For what a command itself keeps: the configuration's, or the user's own."""
        return addresses.state_dir(self.given)

    def uri(self, name: str) -> str:
        """
        Where the running gateway serves an export, for a client of our own.

        Raises:
            Failure: only in ways that need keys, which are not for us to find.
        """
        found = local_uri(addresses.configuration(self.given, self._providers), name)
        if found is None:
            raise wrong(
                f"{name}: the gateway has it open, and lets nobody use it without TLS; expected an"
                " NBD URI of it instead"
            )
        return found

    async def served(self, text: str) -> dict[str, Any] | None:
        """
        What the running gateway knows of an export that it has open as a volume.

        Args:
            text: ADDRESS.

        Returns:
            None for a URL, without a gateway, and for an export that it does not hold open.

        Raises:
            Failure: there is a socket, and what is behind it does not answer.
        """
        if addresses.is_url(text):
            return None
        try:
            known: dict[str, Any] = await self.gateway().ask("GET", "exports", text)
        except Failure as failure:
            absent = isinstance(failure.__cause__, FileNotFoundError | ConnectionRefusedError)
            if self.given.socket is None and (absent or failure.problem.cause is Cause.NOT_FOUND):
                return None
            raise
        return known if known["open"] and known["volume"] else None

    @asynccontextmanager
    async def volume(
        self, text: str, find: Callable[[], Address] | None = None
    ) -> AsyncIterator[IVolume]:
        """
        The volume, to be changed.

        Args:
            text: ADDRESS.
            find: what it means, instead of `address`; asked only if no gateway has it.

        Raises:
            ExportBusy: somebody else holds it, and not this configuration's gateway.
        """
        interruption = self.runtime.interruption
        if await self.served(text) is not None:
            interruption.text = _GOES_ON
            remote: IVolume = RemoteVolume(self.gateway(), text)
            yield remote
            return
        address = self.address(text) if find is None else find()
        self.check_writable(address)
        if self.given.take_over:
            self.warn(await self._warning(address))
        with interruption.held(_TAKEN_OVER):
            export: Any = await self.place(address).attach(self.given.take_over)
            try:
                yield export
            finally:
                await maybeDeferred(export.close)

    @asynccontextmanager
    async def export(self, address: Address, snapshot: str | None = None) -> AsyncIterator[IExport]:
        """The disk as it is in the store, or a snapshot, to be read; whoever has the volume."""
        export = await self.place(address).read(snapshot)
        try:
            yield export
        finally:
            await maybeDeferred(export.close)

    @asynccontextmanager
    async def moment(self, text: str, why: str) -> AsyncIterator[str]:
        """
        A snapshot of a disk that is in use, for as long as it is read.

        Args:
            text: ADDRESS.
            why: what its name begins with.
        """
        async with self.volume(text) as volume:
            taken = await volume.take_snapshot(f"{why}-{os.urandom(4).hex()}")
            try:
                yield taken.name
            finally:
                await volume.delete_snapshot(taken.name)

    @contextmanager
    def progress(self, what: str, kept: str) -> Iterator[Progress]:
        """
        Shows how far long work is.

        Args:
            what: is being done, such as ``deleting``.
            kept: what Ctrl-C leaves, and how to go on.
        """
        interruption = self.runtime.interruption
        with (
            interruption.held(kept),
            progress.shown(what, sys.stderr, self.given.quiet, interruption.check) as tell,
        ):
            yield tell

    def warn(self, text: str) -> None:
        """Tell what is worth knowing beside the result."""
        if text:
            sys.stderr.write(f"nbdgateway: {text}\n")

    async def _warning(self, address: Address) -> str:
        known = await self.place(address).describe()
        if not known.in_use:
            return ""
        who = "somebody"
        if known.owner is not None:
            who = f"process {known.owner.process} on {known.owner.host}"
        return (
            f"taking {address.text} over from {who}: its clients get errors from now on, and what"
            " they have not flushed is lost"
        )
