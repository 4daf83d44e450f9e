"""The gateway as a service: start, stop, reload."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock, patch

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gateway import listeners, service
from gateway.activation import Inherited
from gateway.addresses import endpoint
from gateway.config import Configuration, ExportSpec, ListenerSpec
from gateway.errors import ConfigurationError, ExportUnavailable
from gateway.interfaces import IVolumeProvider
from gateway.listeners import CannotListen, Doorway, Opener
from gateway.service import Gateway
from tests.unit.gateway.fakes import FakeExport, FakeFactory, FakeProvider, spec


@implementer(IVolumeProvider)
class FakeVolumes(FakeProvider):
    """Says that operators can do something with its exports."""


class FakePool:
    """A thread pool whose work is done at once, by the caller."""

    def __init__(self, least: int, most: int, name: str) -> None:
        self.most = most
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def callInThreadWithCallback(self, done: Any, function: Any, *args: Any, **named: Any) -> None:
        assert self.running
        try:
            result, success = function(*args, **named), True
        except Exception:
            from twisted.python.failure import Failure

            result, success = Failure(), False
        done(success, result)


@attrs.frozen
class LateEndpoint:
    """An endpoint that listens when the test says so."""

    listening: Deferred[Any]

    def listen(self, factory: Any) -> Deferred[Any]:
        return self.listening


class Reactor(MemoryReactorClock):
    """Does at once what threads ask for, and refuses some ports."""

    taken: frozenset[int] = frozenset()

    def callFromThread(self, function: Callable[..., Any], *args: Any, **named: Any) -> None:
        function(*args, **named)

    def listenTCP(self, port: int, *args: Any, **named: Any) -> Any:
        if port in self.taken:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
        return super().listenTCP(port, *args, **named)


def listener(name: str, port: int, **values: Any) -> ListenerSpec:
    """A listener on the loopback interface."""
    return ListenerSpec(name, "nbd", endpoint(f"tcp:{port}:interface=127.0.0.1"), **values)


class GatewayTests(SynchronousTestCase):
    """A gateway between fakes."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.export = FakeExport(4096)
        self.provider = FakeProvider(now=self.export)
        self.configuration = self._configuration([listener("one", 1)], [spec("a", self.provider)])
        self.next: Configuration | Exception = self.configuration
        self.signals: dict[int, Any] = {}
        self.announced: list[str] = []
        self.gateway = self._gateway(self.configuration)
        hook = sys.excepthook
        self.addCleanup(setattr, sys, "excepthook", hook)

    def _configuration(
        self, listeners: list[ListenerSpec], exports: list[ExportSpec]
    ) -> Configuration:
        return Configuration("gw.ini", "/state", None, tuple(listeners), tuple(exports))

    def _gateway(self, configuration: Configuration, **values: Any) -> Gateway:
        def announce(listeners: list[Any]) -> None:
            self.announced += [one.spec.name for one in listeners]

        return Gateway(
            configuration,
            reload=self._load,
            announce=announce,
            reactor=self.reactor,
            factories={"nbd": FakeFactory},
            set_signal=self.signals.__setitem__,
            make_pool=FakePool,
            **values,
        )

    def _load(self) -> Configuration:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    def _factory(self, name: str) -> FakeFactory:
        factory = self.gateway.listeners[name].doorway.factory
        assert isinstance(factory, FakeFactory)
        return factory

    def _ports(self) -> list[int]:
        return [port for port, *_ in self.reactor.tcpServers]

    def test_making_it_opens_nothing(self) -> None:
        """twistd forks between making and starting."""
        assert self.reactor.tcpServers == []
        assert self.provider.attempts == []

    def test_it_listens_and_opens_its_exports(self) -> None:
        """Both in the same turn of the reactor."""
        self.gateway.startService()
        assert self._ports() == [1]
        assert [name for name, _ in self.provider.attempts] == ["a"]
        assert self.announced == ["one"]

    def test_it_settles_once_all_is_open_and_again_after_a_reload(self) -> None:
        """Not before: what is opened later would not be settled."""
        settled: list[int] = []
        self.provider.now = opening = Deferred()
        gateway = self._gateway(self.configuration, settle=lambda: settled.append(1))
        gateway.startService()
        assert settled == []
        opening.callback(self.export)
        assert settled == []  # a signal would find no reactor that runs
        self.reactor.advance(0)
        assert settled == [1]
        gateway.reload()
        self.reactor.advance(0)
        assert settled == [1, 1]

    def test_a_port_that_is_taken_ends_the_start_before_a_disk_is_touched(self) -> None:
        """The process exits instead of serving half of it."""
        self.reactor.taken = frozenset({2})
        both = self._configuration(
            [listener("one", 1), listener("two", 2)], [spec("a", self.provider)]
        )
        gateway = self._gateway(both)
        with self.assertRaisesRegex(CannotListen, r"\[listen:two\] cannot listen on tcp:2"):
            gateway.startService()
        assert self.provider.attempts == []
        assert not gateway.running

    def test_an_endpoint_that_fails_later_ends_the_process_as_well(self) -> None:
        """Endpoints of plugins may take their time; status 1 comes behind twistd's clean-up."""
        listening: Deferred[Any] = Deferred()
        self.patch(listeners, "serverFromString", lambda reactor, text: LateEndpoint(listening))
        at_exit: list[Any] = []
        self.patch(service.atexit, "register", lambda *call: at_exit.append(call))
        self.gateway.startService()
        assert self.announced == []
        listening.errback(OSError("no such thing"))
        assert at_exit == [(os._exit, 1)]
        assert self.reactor.hasStopped
        assert self.announced == []

    def test_an_export_that_does_not_open_does_not_end_the_start(self) -> None:
        """The others are served."""
        self.provider.now = ExportUnavailable("gone")
        self.gateway.startService()
        assert self.gateway.running

    def test_stopping_ends_connections_before_it_closes_exports(self) -> None:
        """What clients were promised is flushed, and SIGTERM waits for it (D9)."""
        self.gateway.startService()
        factory = self._factory("one")
        factory.ended = Deferred()
        self.export.closing = Deferred()
        done = self.gateway.stopService()
        assert factory.shut_downs == 1
        assert self.export.closes == 0
        factory.ended.callback(None)
        assert self.export.closes == 1
        self.assertNoResult(done)
        self.export.closing.callback(None)
        self.successResultOf(done)

    def test_connections_that_do_not_end_cannot_keep_exports_from_being_flushed(self) -> None:
        """The last resort behind the protocol's own bound."""
        self.gateway.startService()
        self._factory("one").ended = Deferred()
        done = self.gateway.stopService()
        self.reactor.advance(self.configuration.shutdown_timeout + 5)
        self.successResultOf(done)
        assert self.export.closes == 1
        assert self.reactor.getDelayedCalls() == []

    def _at_exit(self) -> list[Any]:
        calls: list[Any] = []
        self.patch(service.atexit, "register", lambda *call: calls.append(call))
        return calls

    def test_an_export_that_does_not_close_cannot_keep_the_process(self) -> None:
        """It is named in the log, and the exit status tells."""
        at_exit = self._at_exit()
        self.gateway.startService()
        self.export.closing = Deferred()
        done = self.gateway.stopService()
        self.reactor.advance(self.configuration.shutdown_timeout)
        self.assertNoResult(done)
        with capturedLogs() as logs:
            self.reactor.advance(5)
        self.successResultOf(done)
        (critical,) = (log for log in logs if log["log_level"].name == "critical")
        assert critical["export"] == "a"
        assert at_exit == [(os._exit, 1)]

    def test_what_closes_in_time_ends_well(self) -> None:
        """Slow is not stuck."""
        at_exit = self._at_exit()
        self.gateway.startService()
        self.export.closing = Deferred()
        done = self.gateway.stopService()
        self.reactor.advance(self.configuration.shutdown_timeout)
        self.export.closing.callback(None)
        self.successResultOf(done)
        assert at_exit == []
        assert self.reactor.getDelayedCalls() == []

    def test_asked_to_stop_twice_it_ends_at_once(self) -> None:
        """Exports still get to begin what they can."""
        for number in (signal.SIGTERM, signal.SIGINT):
            at_exit = self._at_exit()
            gateway = self._gateway(self.configuration)
            gateway.startService()
            doorway = gateway.listeners["one"].doorway
            doorway.factory.ended = Deferred()
            self.export.closing = Deferred()
            closes = self.export.closes
            done = gateway.stopService()
            self.assertNoResult(done)
            self.signals[number](number, None)
            self.successResultOf(done)
            assert self.export.closes == closes + 1
            assert at_exit == [(os._exit, 1)]

    def test_a_reload_that_hangs_cannot_keep_the_process(self) -> None:
        """Its thread waits for a disk; the stop does not."""
        self.gateway.startService()
        loading: Deferred[Any] = Deferred()
        self.gateway._call_in_thread = lambda load: loading  # type: ignore[method-assign]
        self.gateway.reload()
        self.successResultOf(self.gateway.stopService())
        loading.callback(self._configuration([listener("two", 2)], []))
        assert self._ports() == [1]

    def test_a_reload_that_opens_a_port_is_waited_for_but_not_long(self) -> None:
        """Endpoints of plugins may take their time."""
        for in_time in (True, False):
            self.export.closes = 0
            gateway = self._gateway(self.configuration)
            gateway.startService()
            listening: Deferred[Any] = Deferred()
            late = LateEndpoint(listening)
            patch = self.patch(listeners, "serverFromString", Mock(return_value=late))
            self.next = self._configuration([listener("two", 2)], [])
            gateway.reload()
            patch.restore()
            done = gateway.stopService()
            assert self.export.closes == 0
            if in_time:
                listening.callback(self.reactor.listenTCP(2, None))
            else:
                self.reactor.advance(5)
            self.successResultOf(done)
            assert self.export.closes == 1

    def test_the_signal_only_asks_the_reactor(self) -> None:
        """SIGHUP is ours from the start on."""
        self.gateway.startService()
        self.next = self._configuration([listener("one", 1)], [])
        self.signals[signal.SIGHUP](1, None)
        assert self.export.closes == 1

    def test_a_signal_that_comes_before_the_reactor_runs_stops_it_then(self) -> None:
        """SIGTERM's default would leave what is open as it stands."""
        self.gateway.startService()
        waiting: list[Any] = []
        with patch.object(self.reactor, "callFromThread", waiting.append):
            self.signals[signal.SIGTERM](15, None)
        assert waiting == [self.reactor.stop]

    def test_a_reload_signal_while_it_stops_is_ignored(self) -> None:
        """Its default would end the process in the middle of a flush."""
        self.gateway.startService()
        self.export.closing = Deferred()
        done = self.gateway.stopService()
        assert self.signals[signal.SIGHUP] == signal.SIG_IGN
        self.export.closing.callback(None)
        self.successResultOf(done)
        assert self.signals[signal.SIGHUP] == signal.SIG_IGN

    def test_a_reload_with_mistakes_changes_nothing(self) -> None:
        """All or nothing."""
        self.gateway.startService()
        self.next = ConfigurationError(["gw.ini:1: bad"])
        self.gateway.reload()
        assert self.export.closes == 0
        assert list(self.gateway.listeners) == ["one"]

    def test_a_reload_changes_exports_and_listeners(self) -> None:
        """Open exports are not touched."""
        self.gateway.startService()
        self.next = self._configuration(
            [listener("one", 1), listener("two", 2)],
            [spec("a", self.provider), spec("b", self.provider)],
        )
        self.gateway.reload()
        assert self._ports() == [1, 2]
        assert [name for name, _ in self.provider.attempts] == ["a", "b"]
        self.next = self.configuration
        self.gateway.reload()
        assert list(self.gateway.listeners) == ["one"]
        assert self.export.closes == 1

    def test_a_reload_whose_port_is_taken_changes_nothing(self) -> None:
        """Not even the exports, nor the ports that were to be had."""
        self.gateway.startService()
        self.reactor.taken = frozenset({3})
        self.next = self._configuration([listener("two", 2), listener("three", 3)], [])
        self.gateway.reload()
        assert list(self.gateway.listeners) == ["one"]
        assert self.export.closes == 0

    def test_other_settings_at_the_same_address_keep_the_port_open(self) -> None:
        """New connections get the new settings, old ones keep theirs."""
        self.gateway.startService()
        former = self._factory("one")
        former.connections.add(object())
        self.next = self._configuration(
            [listener("one", 1, max_connections=5)], [spec("a", self.provider)]
        )
        self.gateway.reload()
        assert self._ports() == [1]
        assert self._factory("one").spec.max_connections == 5
        self.successResultOf(self.gateway.stopService())
        assert former.shut_downs == 1

    def test_former_settings_are_forgotten_with_their_last_connection(self) -> None:
        """A nightly reload does not grow the process."""
        self.gateway.startService()
        former = self._factory("one")
        for connections in (5, 6):
            self.next = self._configuration(
                [listener("one", 1, max_connections=connections)], [spec("a", self.provider)]
            )
            self.gateway.reload()
        self.successResultOf(self.gateway.stopService())
        assert former.shut_downs == 0

    def test_all_listeners_share_what_a_process_has_one_of(self) -> None:
        """Also those that a reload made: limits of memory are not multiplied."""
        gateway = Gateway(
            self._configuration([listener("one", 1), listener("two", 2)], []),
            reload=self._load,
            reactor=self.reactor,
            set_signal=lambda number, call: None,
            make_pool=FakePool,
        )
        gateway.startService()
        before = gateway.listeners["one"].doorway.factory
        shared = {id(one.doorway.factory.shared) for one in gateway.listeners.values()}
        self.next = self._configuration(
            [listener("one", 1, max_connections=5), listener("three", 3)], []
        )
        gateway.reload()
        assert gateway.listeners["one"].doorway.factory is not before
        shared |= {id(one.doorway.factory.shared) for one in gateway.listeners.values()}
        assert len(shared) == 1

    def test_operators_are_let_in_while_there_are_volumes(self) -> None:
        """From the start, or from a reload on; nobody who stops the gateway meets them."""
        volumes = FakeVolumes(now=self.export)
        with TemporaryDirectory(prefix="gw") as state_dir:
            admin = os.path.join(state_dir, "admin.sock")
            self.configuration = attrs.evolve(self.configuration, state_dir=state_dir)
            gateway = self._gateway(self.configuration)
            gateway.startService()
            assert not os.path.exists(admin)
            for exports in ([spec("v", volumes)], [spec("a", self.provider)]) * 2:
                self.next = attrs.evolve(self.configuration, exports=tuple(exports))
                gateway.reload()
                assert os.path.exists(admin) is (exports[0].name == "v")
            self.next = attrs.evolve(self.configuration, exports=(spec("v", volumes),))
            gateway.reload()
            self.export.closing = Deferred()
            gateway.stopService()
            assert not os.path.exists(admin)
            self.export.closing.callback(None)
            self.reactor.advance(0)

    def test_a_reload_while_one_is_under_way_follows_it(self) -> None:
        """The last state of the file wins."""
        self.gateway.startService()
        loads: list[Any] = []
        self.gateway._call_in_thread = (  # type: ignore[method-assign]
            lambda load: loads.append(Deferred()) or loads[-1]
        )
        self.gateway.reload()
        self.gateway.reload()
        self.gateway.reload()
        assert len(loads) == 1
        loads[0].callback(self.configuration)
        assert len(loads) == 2
        loads[1].callback(self.configuration)
        assert len(loads) == 2

    def test_there_is_nothing_to_reload_without_a_file(self) -> None:
        """SIGHUP does not end an embedded gateway."""
        gateway = Gateway(
            self.configuration,
            reactor=self.reactor,
            factories={"nbd": FakeFactory},
            set_signal=lambda number, call: None,
            make_pool=FakePool,
        )
        gateway.startService()
        gateway.reload()
        assert gateway.running

    def test_sockets_handed_over_to_a_network_need_tls(self) -> None:
        """Only when the socket is at hand is it known who can reach it."""
        handed_over = attrs.evolve(listener("one", 1), address=endpoint("systemd"))
        configuration = self._configuration([handed_over], [])
        with socket.create_server(("127.0.0.1", 0)) as made:
            inherited = (Inherited(made.fileno(), "INET", "", False),)
            with self.assertRaisesRegex(CannotListen, "allow_insecure = yes"):
                self._gateway(configuration, inherited=inherited).startService()

    def test_a_socket_that_was_refused_is_free_for_a_listener_with_tls(self) -> None:
        """A reload mends what an earlier one got wrong."""
        made = socket.create_server(("127.0.0.1", 0))
        inherited = (Inherited(made.detach(), "INET", "", False),)
        self.reactor.adoptStreamPort = lambda *call: object()  # type: ignore[method-assign]
        insecure = attrs.evolve(listener("one", 1), address=endpoint("systemd"))
        opener = Opener(self.reactor, inherited)
        self.failureResultOf(opener.open(insecure, Doorway(object(), 1)), CannotListen)
        self.successResultOf(
            opener.open(attrs.evolve(insecure, tls="require"), Doorway(object(), 1))
        )

    def test_sockets_handed_over_are_adopted_and_the_originals_closed(self) -> None:
        """The port works on a duplicate (U6)."""
        handed_over = attrs.evolve(listener("one", 1), address=endpoint("systemd"))
        configuration = self._configuration([handed_over], [])
        made = socket.create_server(("127.0.0.1", 0))
        descriptor = made.detach()
        adopted: list[int] = []
        self.reactor.adoptStreamPort = (  # type: ignore[method-assign]
            lambda number, family, factory: adopted.append(number)
        )
        inherited = (Inherited(descriptor, "INET", "", True),)
        self._gateway(configuration, inherited=inherited).startService()
        assert adopted == [descriptor]
        with self.assertRaises(OSError):
            socket.socket(fileno=descriptor)
