"""Exports opened once, shared among all connections, and closed when the last one is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.config import ExportSpec
from gateway.errors import ExportBusy, ExportUnavailable, UnknownExport
from gateway.interfaces import IExport, IExportSource, IOffer, NowOrLater, Resources


@implementer(IOffer)
class Offer:
    """
    One export as it is offered; the opened export is kept until the offer is retired.

    From an unanswered provider to a closed export, what happens is:
    ``open`` or ``warm`` -> `_begin` -> `_opened` or `_failed`; `retire` and
    the last `release` -> `_close` -> `_closed`.
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
        self.closed = False
        self._resources = resources
        self._predecessors = tuple(predecessors)
        self._export: IExport | None = None
        #: Those who wait for an attempt that is under way; None without one.
        self._waiting: list[Deferred[IExport]] | None = None
        self._refusal = ExportUnavailable("not tried")
        self._retired = False
        self._closing = False
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

    def admits(self, names: frozenset[str]) -> bool:
        return not self.spec.tls_clients or bool(self.spec.tls_clients & names)

    def open(self) -> NowOrLater[IExport]:
        if self._retired:
            raise ExportUnavailable(f"{self.name} is no longer offered")
        if self._export is None and self._waiting is None:
            self._begin()
        if self._export is not None:
            self.users += 1
            return self._export
        if self._waiting is None:
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
        if self._export is None and self._waiting is None and not self._retired:
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
        if self._waiting is not None and waiter in self._waiting:
            self._waiting.remove(waiter)

    def _begin(self) -> None:
        self._waiting = []
        held = [offer for offer in self._predecessors if not offer.closed]
        users = sum(offer.users for offer in held)
        if users:
            self._failed(
                Failure(ExportBusy(f"{_count(users)} of its former configuration still connected"))
            )
            return
        if not held:
            self._ask_provider()
            return
        gatherResults([offer.when_closed() for offer in held]).addCallback(
            lambda _: self._ask_provider()
        )

    def _ask_provider(self) -> None:
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
        waiting, self._waiting = self._waiting or [], None
        self._log.info(
            "export {export} is open: {size} bytes", export=self.name, size=export.info.size
        )
        if self._retired:
            for waiter in waiting:
                waiter.errback(ExportUnavailable(f"{self.name} is no longer offered"))
            self._close()
            return
        # All at once: whoever releases first must not find itself the last.
        self.users += len(waiting)
        for waiter in waiting:
            waiter.callback(export)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, ExportUnavailable):
            self._log.error(
                "export {export} cannot be opened: {reason}", export=self.name, reason=str(error)
            )
            self._refusal = error
        else:
            self._log.failure("export {export} cannot be opened", failure=failure, export=self.name)
            self._refusal = ExportUnavailable("its storage provider failed, see the log")
        waiting, self._waiting = self._waiting or [], None
        for waiter in waiting:
            waiter.errback(self._refusal)
        if self._retired:
            self._close()

    def _close(self) -> None:
        if self._closing or self._waiting is not None:
            return  # `_opened` and `_failed` come back here
        self._closing = True
        if self._export is None:
            self._closed(None)
        else:
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
        self.closed = True
        waiting, self._when_closed = self._when_closed, []
        for waiter in waiting:
            waiter.callback(None)


class ExportTable:
    """Every export of the gateway; listeners see it through a `View`."""

    _log = Logger()

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._offers: dict[str, Offer] = {}
        self._retired: list[Offer] = []
        self.default: str | None = None

    def apply(self, specs: Iterable[ExportSpec], default: str | None) -> tuple[str, ...]:
        """
        Offer exactly ``specs`` from now on.

        New ones are opened at once. What is open and still wanted is not
        touched. What is no longer wanted, or is to be another storage, is
        hidden from new clients at once and closed when its last client is gone.

        Returns:
            What changed, as lines for the log.
        """
        wanted = {spec.name: spec for spec in specs}
        former = set(self._offers)
        lines = []
        for name, offer in list(self._offers.items()):
            spec = wanted.get(name)
            if spec is None:
                lines.append(f"- export {name}{_clients(offer)}")
                self._retire(self._offers.pop(name))
            elif not spec.holds_as(offer.spec):
                lines.append(f"~ export {name}{_clients(offer)}")
                self._retire(self._offers.pop(name))
            elif spec != offer.spec:
                lines.append(f"~ export {name}, stays open")
        offers = {}
        for name, spec in wanted.items():
            kept = self._offers.get(name)
            if kept is not None:
                kept.spec = spec
                offers[name] = kept
                continue
            offers[name] = Offer(spec, self._resources, self._predecessors(spec))
            if name not in former:
                lines.append(f"+ export {name}")
        self._offers = offers
        self.default = default
        for offer in offers.values():
            offer.warm()
        return tuple(lines)

    def view(self, names: tuple[str, ...] | None, *, clear_text_only: bool = False) -> View:
        """
        What one listener offers.

        Args:
            names: of exports; None for all.
            clear_text_only: leave out what is never offered in clear text.
        """
        return View(self, names, clear_text_only)

    def offers(self) -> list[Offer]:
        """All of them, in the configured order."""
        return list(self._offers.values())

    def close_all(self) -> Deferred[None]:
        """Flush and close every export; answers when all are closed. Errors are logged."""
        offers, self._offers = [*self._offers.values()], {}
        for offer in offers:
            self._retire(offer)
        done: Deferred[Any] = gatherResults([offer.close() for offer in [*self._retired]])
        return done.addCallback(lambda _: None)

    def unclosed(self) -> list[str]:
        """Names of those that are to be closed and are not yet."""
        return [offer.name for offer in self._retired]

    def _retire(self, offer: Offer) -> None:
        self._retired.append(offer)
        offer.retire()
        offer.when_closed().addCallback(self._gone, offer)

    def _gone(self, _: None, offer: Offer) -> None:
        self._retired.remove(offer)
        for waiting in self._offers.values():
            waiting.warm()

    def _predecessors(self, spec: ExportSpec) -> list[Offer]:
        return [
            offer
            for offer in self._retired
            if offer.name == spec.name
            or (
                spec.identity is not None
                and (offer.spec.provider.name, offer.spec.identity)
                == (spec.provider.name, spec.identity)
            )
        ]


@implementer(IExportSource)
class View:
    """The exports of one listener; always as of now, also after a reload."""

    def __init__(
        self, table: ExportTable, names: tuple[str, ...] | None, clear_text_only: bool
    ) -> None:
        self._table = table
        self._names = names
        self._clear_text_only = clear_text_only

    def offers(self) -> list[Offer]:
        return [offer for offer in self._table.offers() if self._shows(offer)]

    def offer(self, name: str) -> Offer:
        wanted = name or self._table.default
        for offer in self._table.offers():
            if offer.name == wanted and self._shows(offer):
                return offer
        raise UnknownExport(name)

    def _shows(self, offer: Offer) -> bool:
        if offer.tls_only and self._clear_text_only:
            return False
        return self._names is None or offer.name in self._names


def _clients(offer: Offer) -> str:
    if not offer.users:
        return ""
    return f" ({_count(offer.users)}, until the last is gone)"


def _count(users: int) -> str:
    return f"{users} client{'s' if users > 1 else ''}"
