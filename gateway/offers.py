"""An export as it is offered: opened once, shared by all, and closed when the last one is gone."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.config import ExportSpec
from gateway.errors import ExportBusy, ExportUnavailable
from gateway.interfaces import IExport, IOffer, NowOrLater, Resources


class _State(Enum):
    SHUT = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    GONE = auto()


@implementer(IOffer)
class Offer:
    """
    One export as it is offered; the opened export is kept until the offer is retired.

    It goes from `_State.SHUT` over `OPENING` to `OPEN`, or back if that fails.
    Once it is retired, no user is left and no attempt to open is under way, it
    goes over `CLOSING` to `GONE`, and stays there.
    """

    _log = Logger()

    def __init__(
        self, spec: ExportSpec, resources: Resources, predecessors: Iterable[Offer] = ()
    ) -> None:
        """
        Args:
            predecessors: offers that hold the same name or storage and are
                retired; this one is opened when they are closed.
        """
        self.spec = spec
        self.users = 0
        self._resources = resources
        self._predecessors = tuple(predecessors)
        self._state = _State.SHUT
        self._retired = False
        self._export: IExport | None = None
        #: Those who wait for the attempt that is under way.
        self._waiting: list[Deferred[IExport]] = []
        self._refusal = ExportUnavailable("not tried")
        self._when_closed: list[Deferred[None]] = []

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def description(self) -> str:
        return self.spec.description

    @property
    def tls_only(self) -> bool:
        return self.spec.tls_only

    @property
    def closed(self) -> bool:
        """Nothing is held, and never will be again."""
        return self._state is _State.GONE

    def admits(self, names: frozenset[str]) -> bool:
        return not self.spec.tls_clients or bool(self.spec.tls_clients & names)

    def open(self) -> NowOrLater[IExport]:
        if self._retired:
            raise self._no_longer_offered()
        self.warm()
        if self._state is _State.OPEN:
            assert self._export is not None, "open"
            self.users += 1
            return self._export
        if self._state is _State.SHUT:
            raise self._refusal
        waiter: Deferred[IExport] = Deferred(self._stop_waiting)
        self._waiting.append(waiter)
        return waiter

    def release(self) -> None:
        assert self.users > 0, "released more often than opened"
        self.users -= 1
        if self._retired and self.users == 0:
            self._close()

    def warm(self) -> None:
        """Open the export so that the first client need not wait; a failure is only logged."""
        if self._state is _State.SHUT and not self._retired:
            self._begin()

    def retire(self) -> None:
        """Admit nobody any more; close when the last user is gone."""
        self._retired = True
        if self.users == 0:
            self._close()

    def close(self) -> Deferred[None]:
        """Close now, whoever uses it, and answer when that is done; errors are logged."""
        self._retired = True
        self._close()
        return self.when_closed()

    def when_closed(self) -> Deferred[None]:
        """Fires when nothing is held any more."""
        done: Deferred[None] = Deferred()
        if self.closed:
            done.callback(None)
        else:
            self._when_closed.append(done)
        return done

    def _stop_waiting(self, waiter: Deferred[IExport]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _begin(self) -> None:
        self._state = _State.OPENING
        held = [offer for offer in self._predecessors if not offer.closed]
        users = sum(offer.users for offer in held)
        if users:
            self._failed(
                Failure(
                    ExportBusy(f"{count_of(users)} of its former configuration still connected")
                )
            )
            return
        if not held:
            self._ask_provider()
            return
        gatherResults([offer.when_closed() for offer in held]).addCallback(
            lambda _: self._ask_provider()
        )

    def _ask_provider(self) -> None:
        if self._retired:  # while it waited for its predecessors
            self._refuse(self._no_longer_offered())
            return
        spec = self.spec
        try:
            result = spec.provider.open_export(
                spec.name, spec.settings, spec.read_only, self._resources
            )
        except Exception:
            self._failed(Failure())
            return
        if isinstance(result, Deferred):
            result.addCallbacks(self._opened, self._failed)
        else:
            self._opened(result)

    def _opened(self, export: IExport) -> None:
        self._export = export
        self._state = _State.OPEN
        self._log.info(
            "export {export} is open: {size} bytes", export=self.name, size=export.info.size
        )
        if self._retired:
            self._answer_waiting(Failure(self._no_longer_offered()))
            self._close()
            return
        # All at once: whoever releases first must not find itself the last.
        self.users += len(self._waiting)
        self._answer_waiting(export)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, ExportUnavailable):
            self._log.error(
                "export {export} cannot be opened: {reason}", export=self.name, reason=str(error)
            )
            self._refuse(error)
        else:
            self._log.failure("export {export} cannot be opened", failure=failure, export=self.name)
            self._refuse(ExportUnavailable("its storage provider failed, see the log"))

    def _refuse(self, refusal: ExportUnavailable) -> None:
        self._state = _State.SHUT
        self._refusal = refusal
        self._answer_waiting(Failure(refusal))
        if self._retired:
            self._close()

    def _answer_waiting(self, answer: IExport | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(answer)

    def _no_longer_offered(self) -> ExportUnavailable:
        return ExportUnavailable(f"{self.name} is no longer offered")

    def _close(self) -> None:
        if self._state is _State.SHUT:
            self._closed(None)
        elif self._state is _State.OPEN:
            assert self._export is not None, "open"
            self._state = _State.CLOSING
            maybeDeferred(self._export.close).addErrback(self._not_closed).addBoth(self._closed)

    def _not_closed(self, failure: Failure) -> None:
        self._log.failure(
            "export {export} did not close cleanly, recent changes may be lost",
            failure=failure,
            export=self.name,
        )

    def _closed(self, _: object) -> None:
        if self._export is not None:
            self._log.info("export {export} is closed", export=self.name)
        self._state = _State.GONE
        waiting, self._when_closed = self._when_closed, []
        for waiter in waiting:
            waiter.callback(None)


def count_of(users: int) -> str:
    """For people."""
    return f"{users} client{'s' if users > 1 else ''}"
