"""The gateway as a Twisted service: what starts when, what stops when, and what a reload does."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from gateway.activation import Inherited
from gateway.admin.operations import Operations
from gateway.admin.service import AdminSocket
from gateway.config import Configuration, ListenerSpec
from gateway.errors import ConfigurationError
from gateway.exports import ExportTable
from gateway.interfaces import IVolumeProvider, Resources
from gateway.listener_table import ListenerTable
from gateway.listeners import CannotListen, Listener, MakeFactory, Opener
from gateway.listeners import factories as make_factories
from gateway.patience import Patience
from gateway.slow import SlowOperations
from gateway.standing import GatewayStanding
from gateway.status_line import StatusLine
from gateway.systemd import NotifySocket, Supervised
from gateway.threads import StorageThreads
from gateway.traffic import Connections
from gateway.versions import versions

#: Seconds for what takes none unless there is a fault.
_GRACE = 5.0


class Gateway(Service):
    """
    Serves a configuration.

    Start: ports are bound, then storage threads start, then exports are
    opened; nobody is accepted before that, as all of it happens in one turn
    of the reactor. A port that is not to be had ends the process. Stop: no
    new connections, then the connections end, then exports are flushed and
    closed. Each step has its bound; asked to stop twice, the process ends at
    once.

    Attributes:
        exports: None before the start.
    """

    _log = Logger()

    def __init__(
        self,
        configuration: Configuration,
        *,
        inherited: tuple[Inherited, ...] = (),
        reload: Callable[[], Configuration] | None = None,
        prepare: Callable[[], None] = lambda: None,
        announce: Callable[[list[Listener]], None] = lambda listeners: None,
        reactor: Any = None,
        factories: dict[str, MakeFactory] | None = None,
        set_signal: Callable[[int, Any], Any] = signal.signal,
        make_pool: Callable[..., Any] = StorageThreads,
        supervisor: NotifySocket | None = None,
        bring_log: Callable[[Componentized], None] = lambda application: None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            inherited: sockets handed over to the process.
            reload: reads the configuration again, in a thread, when SIGHUP
                arrives; None if there is no file to read.
            prepare: called first of all when the service starts.
            announce: called when everything listens.
            reactor: by default the global one, from `startService` on.
            supervisor: is told how the gateway gets on; nobody by default.
            bring_log: gives the application that the service is put into its log.
            settle: called when exports were tried and listeners are open, also after a reload.
        """
        self._configuration = configuration
        self._inherited = inherited
        self._load = reload
        self._prepare = prepare
        self._announce = announce
        self._reactor = reactor
        self._clients = Connections(time.time)
        self._standing = GatewayStanding(self._clients, time.time)
        self._slow = SlowOperations(configuration.slow_operation, time.monotonic)
        self._factories = factories or make_factories(
            self._clients, self._standing, self._call_for_monitors, self._slow
        )
        self._supervisor = supervisor or NotifySocket()
        self._bring_log = bring_log
        self._settle = settle
        self._set_signal = set_signal
        self._make_pool = make_pool
        self._pool: Any = None
        #: Of its own: metrics are looked at when storage has all of its threads waiting.
        self._monitors: Any = None
        self._reloading: Deferred[None] | None = None
        self._reload_again = False
        self._changing: Deferred[list[str]] | None = None
        self._table: ListenerTable | None = None
        self._admin: AdminSocket | None = None
        self._status_line: StatusLine | None = None
        self._supervised: Supervised | None = None
        self.exports: ExportTable | None = None

    @property
    def listeners(self) -> dict[str, Listener]:
        """Those that listen, by name."""
        return self._table.listeners if self._table is not None else {}

    def setServiceParent(self, parent: Any) -> None:
        # Right after this twistd asks its application for a log.
        if isinstance(parent, Componentized):
            self._bring_log(parent)
        Service.setServiceParent(self, parent)

    # Start

    def startService(self) -> None:
        """
        Raises:
            CannotListen: a port is not to be had; nothing was opened.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        configuration = self._configuration
        self._say_what_this_is(configuration)
        self._pool = self._make_pool(0, configuration.threads, "nbdgateway-storage")
        self.exports = ExportTable(
            Resources(self._reactor, self._call_in_thread, configuration.state_dir, self._tell)
        )
        self._status_line = StatusLine(self.exports, lambda: self.listeners)
        self._supervised = Supervised(self._reactor, self._supervisor, self._status_line)
        self._table = ListenerTable(Opener(self._reactor, self._inherited))
        self._monitors = self._make_pool(0, 1, "nbdgateway-monitors")
        self._standing.start(self.exports, self._table)
        operations = Operations(self.exports, self._clients)
        self._admin = AdminSocket(self._reactor, configuration.state_dir, operations)
        try:
            self._prepare()
            late = self._bind(configuration)
        except (CannotListen, OSError) as error:
            self._give_up(error)
            raise
        Service.startService(self)
        self._pool.start()
        self._monitors.start()
        # Until the reactor runs and sets its own: exports that are open are to be closed.
        self._set_signal(signal.SIGTERM, self._stopped_early)
        self.exports.apply(configuration.exports, configuration.default_export)
        self._standing.in_use(configuration.listeners)
        self._let_operators_in(configuration)
        self._set_signal(signal.SIGHUP, self._hung_up)
        self._supervised.started()
        listening = gatherResults(late).addCallback(lambda _: self._all_listen())
        gatherResults([listening, self.exports.when_tried()]).addCallback(self._is_ready)

    def _stopped_early(self, signal_number: int, frame: object) -> None:
        # In a signal handler nothing else is safe; the reactor does it as soon as it runs.
        self._reactor.callFromThread(self._reactor.stop)

    def _all_listen(self) -> None:
        if len(self.listeners) == len(self._configuration.listeners):
            self._announce([*self.listeners.values()])

    def _is_ready(self, _: object) -> None:
        # Not after all when it was stopped meanwhile.
        if self.running and self._supervised is not None:
            # Not here: exports may be open before the reactor runs, and it is the reactor that
            # has a signal end the process in good order.
            self._reactor.callLater(0, self._settle)
            self._supervised.ready()

    def _say_what_this_is(self, configuration: Configuration) -> None:
        found = versions()
        self._log.info(
            "{versions}; configuration {configuration}; {exports} exports, {listeners} listeners",
            versions=", ".join(f"{name} {number}" for name, number in found.items()),
            configuration=configuration.name,
            exports=len(configuration.exports),
            listeners=len(configuration.listeners),
            **found,
        )
        for line in configuration.lines():
            self._log.info("{line}", line=line)

    def _tell(self, export: str, words: str) -> None:
        """As `Resources.tell`."""
        if self._status_line is not None:
            self._status_line.tell(export, words)

    def _bind(self, configuration: Configuration) -> list[Deferred[None]]:
        """Returns those that are not there yet."""
        assert self._table is not None, "started"
        late: list[Deferred[None]] = []
        for spec in configuration.listeners:
            refused: list[Failure] = []
            listening = self._table.open(spec, self._factory(spec, configuration))
            listening.addErrback(refused.append)
            if refused:
                refused[0].raiseException()
            if not listening.called:
                late.append(listening.addCallback(self._check_late, refused))
        return late

    def _check_late(self, _: None, refused: list[Failure]) -> None:
        """An endpoint that took its time has failed: twistd is past the point of exit statuses."""
        if refused:
            self._log.critical("{reason}", reason=refused[0].getErrorMessage())
            self._exit_with_status_1()
            self._reactor.stop()

    def _let_operators_in(self, configuration: Configuration) -> None:
        """While there are volumes."""
        assert self._admin is not None, "started"
        if any(IVolumeProvider.providedBy(export.provider) for export in configuration.exports):
            self._admin.listen()
        else:
            self._admin.stop()

    def _give_up(self, error: Exception) -> None:
        self._log.critical("nbdgateway cannot start: {reason}", reason=str(error))
        if self._table is not None:
            self._table.stop_listening()
            self._table = None
        # twistd lets the exception out; the sentence above is all there is to say.
        sys.excepthook = _quiet_for(error, sys.excepthook)

    def _factory(self, spec: ListenerSpec, configuration: Configuration) -> Any:
        assert self.exports is not None, "started"
        return self._factories[spec.protocol](
            spec, self.exports, self._reactor, configuration.shutdown_timeout
        )

    def _call_in_thread(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return deferToThreadPool(self._reactor, self._pool, function, *args, **named)

    def _call_for_monitors(self, function: Callable[..., Any], *args: Any) -> Any:
        return deferToThreadPool(self._reactor, self._monitors, function, *args)

    # Stop

    def stopService(self) -> Deferred[None]:
        """Answers when every change that was acknowledged is where it belongs, or patience ends."""
        Service.stopService(self)
        # Not given back: a signal for a reload would end the process, and with it the flush.
        self._set_signal(signal.SIGHUP, signal.SIG_IGN)
        patience = Patience(self._reactor)

        def asked_again(signal_number: int, frame: object) -> None:
            self._reactor.callFromThread(self._end_at_once, patience)

        for number in (signal.SIGTERM, signal.SIGINT):
            self._set_signal(number, asked_again)
        return Deferred.fromCoroutine(self._stop(patience))

    def _end_at_once(self, patience: Patience) -> None:
        self._log.warn("asked to stop once more: ending at once")
        patience.end()

    async def _stop(self, patience: Patience) -> None:
        assert self._table is not None and self.exports is not None, "started"
        assert self._admin is not None and self._supervised is not None, "started"
        self._log.info("stopping")
        self._standing.stopping = True
        self._supervised.stopping()
        self._admin.stop()
        # A reload that is still reading files finds out by itself that it came too late.
        if self._changing is not None:
            await patience.wait(self._changing, _GRACE)
        await patience.wait(self._table.stop_listening(), _GRACE)
        # Each protocol bounds this by itself; here is only the last resort
        # that keeps a fault there from keeping changes from being flushed.
        timeout = self._configuration.shutdown_timeout
        if not await patience.wait(self._table.shut_down(), timeout + _GRACE):
            self._log.warn("connections did not end in time; closing the exports under them")
        if await patience.wait(self.exports.close_all(), timeout + _GRACE):
            self._log.info("every export is closed")
        else:
            for name in self.exports.unclosed():
                self._log.critical(
                    "export {export} could not be flushed and closed in time; "
                    "what was not flushed may be lost",
                    export=name,
                )
            self._exit_with_status_1()
        self._supervised.stopped()
        self._pool.stop()
        self._monitors.stop()

    def _exit_with_status_1(self) -> None:
        """In the end, after twistd has removed its pid file; threads that are stuck are left."""
        atexit.register(os._exit, 1)
        # By this twistd would end the process with the signal that asked it to
        # stop, which says that all went well. There is no public way.
        self._reactor._exitSignal = None

    # Reload

    def _hung_up(self, signal_number: int, frame: object) -> None:
        # In a signal handler nothing else is safe.
        self._reactor.callFromThread(self.reload)

    def reload(self) -> None:
        """
        Read the configuration again and change over to it, wholly or not at all.

        Problems are logged, and what is served stays as it is.
        """
        if not self.running:
            return
        if self._load is None:
            self._log.info("there is no configuration file to read again")
            return
        if self._reloading is not None:
            self._log.info("a reload is under way; another one follows it")
            self._reload_again = True
            return
        self._log.info("reading the configuration again")
        assert self._supervised is not None, "running"
        self._supervised.reloading()
        self._reloading = Deferred.fromCoroutine(self._reload(self._load))
        self._reloading.addErrback(
            lambda failure: self._log.failure("the reload failed", failure=failure)
        ).addCallback(self._reloaded)

    def _reloaded(self, _: object) -> None:
        self._reloading = None
        if self.exports is not None:
            # Also those that were still opened for the first time.
            self.exports.when_tried().addCallback(self._is_ready)
        if self._reload_again:
            self._reload_again = False
            self.reload()

    async def _reload(self, load: Callable[[], Configuration]) -> None:
        try:
            # Certificates and files are looked at, which may wait for a disk.
            configuration = await self._call_in_thread(load)
            if not self.running:
                return
            assert self._table is not None, "running"
            self._changing = Deferred.fromCoroutine(
                self._table.change(
                    configuration.listeners,
                    lambda spec: self._factory(spec, configuration),
                    all_anew=configuration.shutdown_timeout != self._configuration.shutdown_timeout,
                )
            )
            changes = await self._changing
        except ConfigurationError as error:
            self._standing.reload_failed = True
            for problem in error.problems:
                self._log.error("{problem}", problem=problem)
            self._log.error("the configuration stays as it was")
            return
        except CannotListen as error:
            self._standing.reload_failed = True
            self._log.error("{problem}", problem=str(error))
            self._log.error("the configuration stays as it was")
            return
        finally:
            self._changing = None
        if not self.running:
            return
        assert self.exports is not None, "running"
        exports = self.exports.apply(configuration.exports, configuration.default_export)
        self._let_operators_in(configuration)
        for line in (*exports, *changes):
            self._log.info("reload: {change}", change=line)
        self._slow.threshold = configuration.slow_operation
        for key in ("state_dir", "threads", "log_format"):
            if getattr(configuration, key) != getattr(self._configuration, key):
                self._log.warn("reload: {key} changes when the gateway is restarted", key=key)
        self._configuration = configuration
        self._standing.in_use(configuration.listeners)
        self._log.info("configuration reloaded")


def _quiet_for(error: Exception, hook: Callable[..., Any]) -> Callable[..., Any]:
    """An exception hook that prints one sentence instead of a traceback for ``error``."""

    def say(kind: type[BaseException], value: BaseException, trace: Any) -> None:
        if value is not error:
            hook(kind, value, trace)
        elif sys.__stderr__ is not None:
            print(f"nbdgateway: {value}", file=sys.__stderr__)

    return say
