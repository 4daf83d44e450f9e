"""An export opened once, shared by all who ask, and closed when the last one is gone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.errors import ExportBusy, ExportUnavailable
from gateway.interfaces import IExport, NowOrLater

T = TypeVar("T")


class State(Enum):
    SHUT = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    GONE = auto()


class SharedExport(ABC):
    """
    One export for all who ask; subclasses say how it is opened, and what it is called.

    It goes from `State.SHUT` over `OPENING` to `OPEN`, or back if that fails.
    When it is to be closed, and no attempt to open is under way, it goes over
    `CLOSING` to `SHUT`, or once it is retired to `GONE`, and stays there.

    Attributes:
        users: who opened it and have not released it; operators are none.
    """

    _log = Logger()

    #: Stays open without users, for the next one, until it is retired.
    _kept = True

    def __init__(self) -> None:
        self.users = 0
        self._operators = 0
        #: Operators whom no user may meet.
        self._alone = 0
        self._state = State.SHUT
        self._retired = False
        self._export: IExport | None = None
        #: Those who wait until it is open.
        self._waiting: list[Deferred[IExport]] = []
        self._refusal: Exception = ExportUnavailable("not tried")
        self._when_closed: list[Deferred[None]] = []
        self._when_tried: list[Deferred[None]] = []

    @property
    @abstractmethod
    def name(self) -> str:
        """As clients ask for it."""

    @property
    def retired(self) -> bool:
        """Nobody is admitted any more."""
        return self._retired

    @property
    def opening(self) -> bool:
        """An attempt to open it is under way."""
        return self._state is State.OPENING

    @property
    def export(self) -> IExport | None:
        """What is shared, while it is open."""
        return self._export if self._state is State.OPEN else None

    @property
    def closed(self) -> bool:
        """Nothing is held, and never will be again."""
        return self._state is State.GONE

    def open(self) -> NowOrLater[IExport]:
        if self.retired:
            raise self._no_longer_offered()
        # The caller counts from now on: what opens at once must not find
        # itself without users.
        self.users += 1
        self.warm()
        if self._state is State.OPEN and not self._alone:
            assert self._export is not None, "open"
            return self._export
        self.users -= 1
        if self._state is State.SHUT:
            raise self._refusal
        waiter: Deferred[IExport] = Deferred(self._stop_waiting)
        self._waiting.append(waiter)
        return waiter

    def release(self) -> None:
        assert self.users > 0, "released more often than opened"
        self.users -= 1
        self._close_if_unused()

    async def operate(self, do: Callable[[IExport], Awaitable[T]], alone: bool = False) -> T:
        """
        Let an operator do something to the export, which is opened for it if
        it is not open. Operators do not wait for each other.

        Args:
            do: called once; the export stays open until it has answered.
            alone: not while anybody uses the export; who asks for it meanwhile waits.

        Raises:
            ExportBusy: somebody uses it.
            ExportUnavailable: it could not be opened, with the reason.
        """
        export = None if self.retired else self.export
        if export is None:
            opened = self.open()
            export = await opened if isinstance(opened, Deferred) else opened
            self.users -= 1
        self._operators += 1
        self._alone += alone
        try:
            if alone and self.users:
                raise ExportBusy(f"{self.name} has {count_of(self.users)} connected")
            return await do(export)
        finally:
            self._operators -= 1
            self._alone -= alone
            self._admit_waiting()
            self._close_if_unused()

    async def reopen(self) -> IExport:
        """
        Close storage, if it is open, and open it anew: a volume that another gateway has taken
        over is ours again, and a file has the size that it has now. Who asks meanwhile waits.

        Raises:
            ExportBusy: somebody uses the export. Nobody is cut off for this.
            ExportUnavailable: it could not be opened, with the reason.
        """
        if self.users:
            raise ExportBusy(f"{self.name} has {count_of(self.users)} connected")
        if self._operators:
            raise ExportBusy(f"another command is not done with {self.name}")
        if self._state is State.OPEN and not self.retired:
            self._close()
        opened = self.open()
        export = await opened if isinstance(opened, Deferred) else opened
        self.release()
        return export

    def warm(self) -> None:
        """Open the export so that the first client need not wait; a failure is only logged."""
        if self._state is State.SHUT and not self.retired:
            self._begin()

    def retire(self) -> None:
        """Admit nobody any more; close when the last user is gone."""
        self._retired = True
        self._close_if_unused()

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

    def when_tried(self) -> Deferred[None]:
        """Fires when no attempt to open it is under way."""
        tried: Deferred[None] = Deferred()
        if self.opening:
            self._when_tried.append(tried)
        else:
            tried.callback(None)
        return tried

    def _stop_waiting(self, waiter: Deferred[IExport]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    # Opening.

    @abstractmethod
    def _open_export(self) -> NowOrLater[IExport]:
        """Ask storage for the export, once for each attempt."""

    def _begin(self) -> None:
        self._state = State.OPENING
        self._ask_storage()

    def _ask_storage(self) -> None:
        if self.retired:  # while it waited for others to close
            self._refuse(self._no_longer_offered())
            return
        try:
            result = self._open_export()
        except Exception:
            self._failed(Failure())
            return
        if isinstance(result, Deferred):
            result.addCallbacks(self._opened, self._failed)
        else:
            self._opened(result)

    def _opened(self, export: IExport) -> None:
        self._export = export
        self._state = State.OPEN
        self._log.info(
            "export {export} is open: {size} bytes", export=self.name, size=export.info.size
        )
        if self.retired:
            self._answer_waiting(Failure(self._no_longer_offered()))
            self._close()
            self._tried()
            return
        self._admit_waiting()
        self._close_if_unused()
        self._tried()

    def _tried(self) -> None:
        waiting, self._when_tried = self._when_tried, []
        for waiter in waiting:
            waiter.callback(None)

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

    def _refuse(self, refusal: Exception) -> None:
        self._state = State.SHUT
        self._refusal = refusal
        self._answer_waiting(Failure(refusal))
        if self.retired:
            self._close()
        self._tried()

    def _admit_waiting(self) -> None:
        if self._state is State.OPEN and not self._alone and not self.retired:
            assert self._export is not None, "open"
            # All at once: whoever releases first must not find itself the last.
            self.users += len(self._waiting)
            self._answer_waiting(self._export)

    def _answer_waiting(self, answer: IExport | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(answer)

    def _no_longer_offered(self) -> ExportUnavailable:
        return ExportUnavailable(f"{self.name} is no longer offered")

    # Closing.

    def _close_if_unused(self) -> None:
        if self.users == self._operators == 0 and (self.retired or not self._kept):
            self._close()

    def _close(self) -> None:
        if self._state is State.SHUT:
            self._closed(None)
        elif self._state is State.OPEN:
            assert self._export is not None, "open"
            self._state = State.CLOSING
            maybeDeferred(self._export.close).addErrback(self._not_closed).addBoth(self._closed)

    def _not_closed(self, failure: Failure) -> None:
        self._log.failure(
            "export {export} did not close cleanly, recent changes may be lost",
            failure=failure,
            export=self.name,
        )

    def _closed(self, _: object) -> None:
        export, self._export = self._export, None
        self._state = State.GONE if self.retired else State.SHUT
        if export is not None:
            self._log.info("export {export} is closed", export=self.name)
            self._let_go()
        if not self.closed:
            if self._waiting:
                self._begin()
            return
        self._answer_waiting(Failure(self._no_longer_offered()))
        waiting, self._when_closed = self._when_closed, []
        for waiter in waiting:
            waiter.callback(None)

    @abstractmethod
    def _let_go(self) -> None:
        """What was held for the open export is not needed any more: it is closed."""


def count_of(users: int) -> str:
    """For people."""
    return f"{users} client{'s' if users > 1 else ''}"
