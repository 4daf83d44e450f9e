"""All listeners of the gateway, and how a reload changes over to others, wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from gateway.config import ListenerSpec
from gateway.listeners import CannotListen, Doorway, Listener, Opener


class ListenerTable:
    """
    Every listener of the gateway.

    Attributes:
        listeners: those that listen, by name.
    """

    _log = Logger()

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        #: Of ports that are closed, while there are connections that came through.
        self._former: list[Doorway] = []
        self._stopped = False
        self.listeners: dict[str, Listener] = {}

    def open(self, spec: ListenerSpec, factory: Any) -> Deferred[None]:
        """
        Start to listen.

        Raises:
            CannotListen: with the reason, through the ``Deferred``.
        """
        return self._opener.open(spec, Doorway(factory, spec.max_connections)).addCallback(
            self._add
        )

    async def change(
        self,
        specs: Sequence[ListenerSpec],
        make_factory: Callable[[ListenerSpec], Any],
        *,
        all_anew: bool = False,
    ) -> list[str]:
        """
        Listen to exactly ``specs`` from now on.

        A port whose place is still wanted stays open, under whatever name.
        The others are closed when the new ones are open, except where the
        kernel gives out the new one only after the old one is closed.

        Args:
            all_anew: make new factories also for those that have not changed.

        Returns:
            What changed, as lines for the log.

        Raises:
            CannotListen: everything is as it was.
        """
        kept = self._kept(specs)
        factories = {
            spec.name: make_factory(spec)
            for spec in specs
            if all_anew or _is_changed(spec, kept.get(spec.name))
        }
        closing = [one for one in self.listeners.values() if one not in kept.values()]
        opened = await self._open_all(
            [spec for spec in specs if spec.name not in kept], factories, closing
        )
        if self._stopped:
            self._stop_listening(opened.values())
            return []
        # From here on nothing fails and nothing waits.
        lines = self._close(closing, opened, {spec.name for spec in specs})
        listeners = {}
        for spec in specs:
            listener = kept.get(spec.name)
            if listener is None:
                listener = opened[spec.name]
                lines.append(f"{'~' if spec.name in self.listeners else '+'} listener {spec.name}")
                self._tell(listener)
            elif spec.name in factories:
                lines += _change_line(spec, listener.spec)
                listener.change(spec, factories[spec.name])
            listeners[spec.name] = listener
        self.listeners = listeners
        return lines

    def stop_listening(self) -> Deferred[Any]:
        """Accept nobody any more, for good; connections go on."""
        self._stopped = True
        return gatherResults([one.stop_listening() for one in self.listeners.values()])

    def shut_down(self) -> Deferred[Any]:
        """End every connection; fires when all are gone."""
        doorways = [*(one.doorway for one in self.listeners.values()), *self._former]
        return gatherResults([doorway.shut_down() for doorway in doorways])

    def _add(self, listener: Listener) -> None:
        if self._stopped:
            self._stop_listening([listener])
            return
        self.listeners[listener.spec.name] = listener
        self._tell(listener)

    def _tell(self, listener: Listener) -> None:
        self._log.info(
            "listening for {protocol} on {address}, tls {tls}",
            protocol=listener.spec.protocol,
            address=listener.spec.address.text,
            tls=listener.spec.tls,
        )

    def _kept(self, specs: Sequence[ListenerSpec]) -> dict[str, Listener]:
        """The listeners whose ports stay open, by their names from now on."""
        kept: dict[str, Listener] = {}
        rest = []
        for spec in specs:
            listener = self.listeners.get(spec.name)
            if listener is not None and listener.spec.address.place == spec.address.place:
                kept[spec.name] = listener
            else:
                rest.append(spec)
        left = {
            one.spec.address.place: one
            for one in self.listeners.values()
            if one not in kept.values() and not one.spec.address.is_any_port
        }
        for spec in rest:
            if spec.address.place in left:
                kept[spec.name] = left.pop(spec.address.place)
        return kept

    async def _open_all(
        self, specs: list[ListenerSpec], factories: dict[str, Any], closing: list[Listener]
    ) -> dict[str, Listener]:
        in_the_way = {
            spec.name: [one for one in closing if spec.address.overlaps(one.spec.address)]
            for spec in specs
        }
        opened: dict[str, Listener] = {}
        closed: list[Listener] = []
        try:
            # The sort is stable; those that need a port closed first come last.
            for spec in sorted(specs, key=lambda spec: bool(in_the_way[spec.name])):
                for listener in in_the_way[spec.name]:
                    if listener not in closed:
                        closed.append(listener)
                        await listener.stop_listening()
                doorway = Doorway(factories[spec.name], spec.max_connections)
                opened[spec.name] = await self._opener.open(spec, doorway)
        except CannotListen:
            for listener in opened.values():
                await listener.stop_listening()
            for listener in closed:
                await self._reopen(listener)
            raise
        return opened

    async def _reopen(self, listener: Listener) -> None:
        if self._stopped:
            return
        try:
            again = await self._opener.open(listener.spec, listener.doorway)
        except CannotListen as error:
            self._log.critical("{reason}; nobody is served there", reason=str(error))
            del self.listeners[listener.spec.name]
            self._former.append(listener.doorway)
        else:
            listener.ports = again.ports

    def _close(
        self, closing: list[Listener], opened: dict[str, Listener], wanted: set[str]
    ) -> list[str]:
        lines = []
        self._stop_listening(closing)
        for listener in closing:
            name = listener.spec.name
            if name in opened:
                opened[name].doorway.take_over(listener.doorway)
                continue
            self._former.append(listener.doorway)
            if name in wanted:
                lines.append(f"~ listener {name}, no longer on {listener.spec.address.text}")
            else:
                lines.append(f"- listener {name}")
        # Not for ever: SIGHUP may come each night.
        self._former = [doorway for doorway in self._former if doorway.count()]
        return lines

    def _stop_listening(self, listeners: Any) -> None:
        for listener in listeners:
            listener.stop_listening().addErrback(
                lambda failure: self._log.failure("closing a port failed", failure=failure)
            )


def _is_changed(spec: ListenerSpec, listener: Listener | None) -> bool:
    # With TLS always: the files may hold new certificates.
    return listener is None or listener.spec != spec or spec.tls_files is not None


def _change_line(spec: ListenerSpec, former: ListenerSpec) -> list[str]:
    if spec == former:
        return []
    line = f"~ listener {spec.name}"
    if spec.name != former.name:
        line += f", was {former.name}"
    if spec.address.backlog != former.address.backlog:
        line += "; its backlog changes when the gateway is restarted"
    return [line]
