"""Listeners, and the change from some to others."""

from __future__ import annotations

import os
import stat
import tempfile
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gateway.addresses import endpoint
from gateway.config import ListenerSpec
from gateway.listener_table import ListenerTable
from gateway.listeners import CannotListen, Doorway, Listener, Opener
from tests.unit.gateway.fakes import FakeFactory

PEER = IPv4Address("TCP", "127.0.0.1", 40000)


@attrs.define(eq=False)
class FakePort:
    """A port of `Kernel`; ``factory`` is behind it."""

    kernel: Kernel
    port: int
    interface: str
    factory: Any

    def stopListening(self) -> Deferred[None]:
        self.kernel.ports.remove(self)
        return succeed(None)


class Kernel(MemoryReactorClock):
    """Gives out a port for one interface or for all of them, as Linux does."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []
        self.refused: set[str] = set()

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> FakePort:
        taken = any(
            one.port == port and (one.interface == interface or "" in (one.interface, interface))
            for one in self.ports
        )
        if port != 0 and taken or interface in self.refused:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.ports.append(FakePort(self, port, interface, factory))
        return self.ports[-1]

    def bound(self) -> list[tuple[int, str]]:
        """What is open."""
        return [(one.port, one.interface) for one in self.ports]


def listener(name: str, text: str, **values: Any) -> ListenerSpec:
    """One at an endpoint."""
    return ListenerSpec(name, "nbd", endpoint(text), **values)


class ListenerTableTests(SynchronousTestCase):
    """Changes, over ports that exclude each other."""

    def setUp(self) -> None:
        self.kernel = Kernel()
        self.table = ListenerTable(Opener(self.kernel))

    def _factory(self, spec: ListenerSpec) -> FakeFactory:
        return FakeFactory(spec, None, None, 30.0)

    def _start(self, *specs: ListenerSpec) -> None:
        for spec in specs:
            self.successResultOf(self.table.open(spec, self._factory(spec)))

    def _change(self, *specs: ListenerSpec) -> list[str]:
        return self.successResultOf(Deferred.fromCoroutine(self.table.change(specs, self._factory)))

    def _refused(self, *specs: ListenerSpec) -> None:
        changing = Deferred.fromCoroutine(self.table.change(specs, self._factory))
        self.failureResultOf(changing, CannotListen)

    def _spec_behind(self, port: FakePort) -> ListenerSpec:
        factory = port.factory.factory
        assert isinstance(factory, FakeFactory)
        spec = factory.spec
        assert isinstance(spec, ListenerSpec)
        return spec

    def test_a_renamed_listener_takes_its_port_along(self) -> None:
        """The section's name is for people."""
        self._start(listener("one", "tcp:1"))
        (port,) = self.kernel.ports
        assert self._change(listener("two", "tcp:1")) == ["~ listener two, was one"]
        assert self.kernel.ports == [port]
        assert list(self.table.listeners) == ["two"]

    def test_two_listeners_exchange_their_addresses(self) -> None:
        """Which is the same as exchanging their names."""
        self._start(listener("one", "tcp:1"), listener("two", "tcp:2"))
        ports = list(self.kernel.ports)
        self._change(listener("one", "tcp:2"), listener("two", "tcp:1"))
        assert self.kernel.ports == ports
        assert [self._spec_behind(port).name for port in ports] == ["two", "one"]

    def test_the_interface_of_a_port_changes_in_either_direction(self) -> None:
        """The kernel gives it out only when the former one is closed."""
        self._start(listener("one", "tcp:1:interface=127.0.0.1"))
        assert self._change(listener("one", "tcp:1")) == ["~ listener one"]
        assert self.kernel.bound() == [(1, "")]
        self._change(listener("one", "tcp:1:interface=127.0.0.1"))
        assert self.kernel.bound() == [(1, "127.0.0.1")]

    def test_an_interface_that_is_not_to_be_had_leaves_everything_as_it_was(self) -> None:
        """The port that was closed for it is opened again, with the same settings."""
        former = [listener("one", "tcp:1"), listener("two", "tcp:2")]
        self._start(*former)
        self.kernel.refused = {"192.0.2.1"}
        moved = listener("one", "tcp:1:interface=192.0.2.1", max_connections=5)
        self._refused(moved, listener("three", "tcp:3"))
        assert sorted(self.kernel.bound()) == [(1, ""), (2, "")]
        assert [one.spec for one in self.table.listeners.values()] == former
        (port,) = (one for one in self.kernel.ports if one.port == 1)
        assert self._spec_behind(port) == former[0]
        self.successResultOf(self.table.stop_listening())
        assert self.kernel.bound() == []

    def test_a_port_that_cannot_be_opened_again_is_a_loud_loss(self) -> None:
        """Somebody else has taken it within that moment."""
        self._start(listener("one", "tcp:1"))
        self.kernel.refused = {"192.0.2.1", ""}
        with capturedLogs() as logs:
            self._refused(listener("one", "tcp:1:interface=192.0.2.1"))
        assert [log["log_level"].name for log in logs] == ["critical"]
        assert self.table.listeners == {}

    def test_options_of_an_endpoint_leave_its_port_open(self) -> None:
        """What cannot be applied to an open port is told."""
        self._start(listener("one", "tcp:1"))
        ports = list(self.kernel.ports)
        assert self._change(listener("one", "tcp:1:backlog=9")) == [
            "~ listener one; its backlog changes when the gateway is restarted"
        ]
        assert self.kernel.ports == ports

    def test_permissions_of_a_socket_change_while_it_is_open(self) -> None:
        """Also where the mode is written in the endpoint."""
        with tempfile.TemporaryDirectory(prefix="gw") as directory:
            text = f"unix:{directory}/s"
            self._start(listener("one", text, mode=0o660))
            before = os.stat(f"{directory}/s")
            assert self._change(listener("one", f"{text}:mode=600", mode=0o600)) == [
                "~ listener one"
            ]
            after = os.stat(f"{directory}/s")
            self.table.stop_listening()
            self.kernel.advance(0)
        assert after.st_ino == before.st_ino
        assert stat.S_IMODE(after.st_mode) == 0o600

    def test_connections_from_before_a_change_count(self) -> None:
        """``max_connections`` is not multiplied by reloads, renamings and moves."""
        self._start(listener("one", "tcp:1", max_connections=3))
        before = self.table.listeners["one"].doorway.factory
        before.connections.update({object(), object()})
        for spec in (
            listener("one", "tcp:1", max_connections=2),
            listener("two", "tcp:1", max_connections=2),
            listener("two", "tcp:7", max_connections=2),
        ):
            self._change(spec)
            doorway = self.table.listeners[spec.name].doorway
            assert doorway.buildProtocol(PEER) is None
        before.connections.pop()
        assert doorway.buildProtocol(PEER) is not None
        self.table.shut_down()
        assert before.shut_downs == 1

    def test_listeners_that_are_gone_are_forgotten_with_their_last_connection(self) -> None:
        """A reload each night does not grow the process."""
        self._start(listener("one", "tcp:1"), listener("two", "tcp:2"))
        one, two = (self.table.listeners[name].doorway.factory for name in ("one", "two"))
        two.connections.add(object())
        self._change(listener("three", "tcp:3"))
        self._change(listener("four", "tcp:4"))
        self.table.shut_down()
        assert (one.shut_downs, two.shut_downs) == (0, 1)

    def test_a_port_that_opens_after_the_end_is_closed_again(self) -> None:
        """An endpoint of a plugin took its time, and the gateway did not wait."""
        self._start(listener("one", "tcp:1"))
        listening: Deferred[Any] = Deferred()
        self.patch(Opener, "open", lambda opener, spec, doorway: listening)
        two = listener("two", "tcp:2")
        changing = Deferred.fromCoroutine(self.table.change([two], self._factory))
        self.table.stop_listening()
        doorway = Doorway(self._factory(two), 1)
        listening.callback(Listener(two, doorway, [self.kernel.listenTCP(2, doorway)]))
        assert self.successResultOf(changing) == []
        assert self.kernel.bound() == []

    def test_nor_does_the_start_leave_one(self) -> None:
        """It is stopped before its ports are there."""
        listening: Deferred[Any] = Deferred()
        self.patch(Opener, "open", lambda opener, spec, doorway: listening)
        one = listener("one", "tcp:1")
        opening = self.table.open(one, self._factory(one))
        self.table.stop_listening()
        doorway = Doorway(self._factory(one), 1)
        listening.callback(Listener(one, doorway, [self.kernel.listenTCP(1, doorway)]))
        self.successResultOf(opening)
        assert self.kernel.bound() == []
