"""The gateway as a Twisted service: what starts when, what stops when, and what a reload does."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway.activation import Inherited
from gateway.config import Configuration, ListenerSpec
from gateway.errors import ConfigurationError
from gateway.exports import ExportTable
from gateway.interfaces import Resources
from gateway.listener_table import ListenerTable
from gateway.listeners import CannotListen, Listener, MakeFactory, Opener
from gateway.listeners import factories as make_factories

#: Seconds beyond the protocol's own bound before connections are given up.
_GRACE = 5.0


class Gateway(Service):
    """
    Serves a configuration.

    Start: ports are bound, then storage threads start, then exports are
    opened; nobody is accepted before that, as all of it happens in one turn
    of the reactor. A port that is not to be had ends the process. Stop: no
    new connections, then the connections end, then exports are flushed and
    closed, then the threads end.

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
        make_pool: Callable[..., Any] = ThreadPool,
    ) -> None:
        """
        Args:
            inherited: sockets handed over to the process.
            reload: reads the configuration again, in a thread, when SIGHUP
                arrives; None if there is no file to read.
            prepare: called first of all when the service starts.
            announce: called when everything listens.
            reactor: by default the global one, from `startService` on.
        """
        self._configuration = configuration
        self._inherited = inherited
        self._load = reload
        self._prepare = prepare
        self._announce = announce
        self._reactor = reactor
        self._factories = make_factories() if factories is None else factories
        self._set_signal = set_signal
        self._make_pool = make_pool
        self._pool: Any = None
        self._former_signal: Any = None
        self._reloading: Deferred[None] | None = None
        self._reload_again = False
        self._table: ListenerTable | None = None
        self.exports: ExportTable | None = None

    @property
    def listeners(self) -> dict[str, Listener]:
        """Those that listen, by name."""
        return self._table.listeners if self._table is not None else {}

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
        self._pool = self._make_pool(0, configuration.threads, "nbdgateway-storage")
        self.exports = ExportTable(
            Resources(self._reactor, self._call_in_thread, configuration.state_dir)
        )
        self._table = ListenerTable(Opener(self._reactor, self._inherited))
        try:
            self._prepare()
            late = self._bind(configuration)
        except (CannotListen, OSError) as error:
            self._give_up(error)
            raise
        Service.startService(self)
        self._pool.start()
        self.exports.apply(configuration.exports, configuration.default_export)
        self._former_signal = self._set_signal(signal.SIGHUP, self._hung_up)
        gatherResults(late).addCallback(lambda _: self._all_listen())

    def _all_listen(self) -> None:
        if len(self.listeners) == len(self._configuration.listeners):
            self._announce([*self.listeners.values()])

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
            # Runs after twistd has removed its pid file.
            atexit.register(os._exit, 1)
            self._reactor.stop()

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

    # Stop

    def stopService(self) -> Deferred[None]:
        """Answers when every change that was acknowledged is where it belongs."""
        Service.stopService(self)
        self._set_signal(signal.SIGHUP, self._former_signal or signal.SIG_DFL)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._reloading is not None:
            await self._reloading
        self._log.info("stopping")
        assert self._table is not None, "started"
        await self._logged(self._table.stop_listening())
        # Each protocol bounds this by itself; here is only the last resort
        # that keeps a fault there from keeping changes from being flushed.
        ending: Deferred[Any] = Deferred()
        self._table.shut_down().chainDeferred(ending)
        ending.addTimeout(self._configuration.shutdown_timeout + _GRACE, self._reactor)
        await self._logged(ending)
        assert self.exports is not None, "started"
        await self.exports.close_all()
        self._pool.stop()
        self._log.info("every export is closed")

    async def _logged(self, result: Deferred[Any]) -> None:
        try:
            await result
        except TimeoutError:
            self._log.warn("connections did not end in time; closing the exports under them")
        except Exception:
            self._log.failure("stopping was not clean")

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
            self._reload_again = True
            return
        self._reloading = Deferred.fromCoroutine(self._reload(self._load))
        self._reloading.addErrback(
            lambda failure: self._log.failure("the reload failed", failure=failure)
        ).addCallback(self._reloaded)

    def _reloaded(self, _: object) -> None:
        self._reloading = None
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
            changes = await self._table.change(
                configuration.listeners,
                lambda spec: self._factory(spec, configuration),
                all_anew=configuration.shutdown_timeout != self._configuration.shutdown_timeout,
            )
        except ConfigurationError as error:
            for problem in error.problems:
                self._log.error("{problem}", problem=problem)
            self._log.error("the configuration stays as it was")
            return
        except CannotListen as error:
            self._log.error("{problem}", problem=str(error))
            self._log.error("the configuration stays as it was")
            return
        if not self.running:
            return
        assert self.exports is not None, "running"
        exports = self.exports.apply(configuration.exports, configuration.default_export)
        for line in (*exports, *changes):
            self._log.info("reload: {change}", change=line)
        for key in ("state_dir", "threads"):
            if getattr(configuration, key) != getattr(self._configuration, key):
                self._log.warn("reload: {key} changes when the gateway is restarted", key=key)
        self._configuration = configuration
        self._log.info("configuration reloaded")


def _quiet_for(error: Exception, hook: Callable[..., Any]) -> Callable[..., Any]:
    """An exception hook that prints one sentence instead of a traceback for ``error``."""

    def say(kind: type[BaseException], value: BaseException, trace: Any) -> None:
        if value is not error:
            hook(kind, value, trace)
        elif sys.__stderr__ is not None:
            print(f"nbdgateway: {value}", file=sys.__stderr__)

    return say
