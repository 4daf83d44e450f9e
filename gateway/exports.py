"""The exports of the gateway as a table, and what a reload does to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from gateway.config import ExportSpec
from gateway.errors import UnknownExport
from gateway.interfaces import IExportSource, IOffer, Resources
from gateway.offers import Offer
from gateway.sharing import count_of


class ExportTable:
    """Every export of the gateway; listeners see it through a `View`."""

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

    def configured(self, name: str | None) -> Offer | None:
        """The one of that very name."""
        return None if name is None else self._offers.get(name)

    def account_of(self, name: str) -> str:
        """The export of the configuration that ``name`` is, or derives from."""
        if name in self._offers:
            return name
        return name.rpartition("@")[0] or name

    def offers(self) -> list[Offer]:
        """All of them, in the configured order."""
        return list(self._offers.values())

    def when_tried(self) -> Deferred[None]:
        """Fires when each export is open, or has been refused by its storage."""
        tried: Deferred[Any] = gatherResults([offer.when_tried() for offer in self.offers()])
        return tried.addCallback(lambda _: None)

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

    def offer(self, name: str) -> IOffer:
        """
        Also ``EXPORT@PART``, unless an export is configured by that full
        name: what derives from an export that is shown.
        """
        offer = self._table.configured(name or self._table.default)
        if offer is not None:
            if self._shows(offer):
                return offer
            raise UnknownExport(name)
        base, at, part = name.rpartition("@")
        offer = self._table.configured(base)
        if offer is None or not self._shows(offer):
            raise UnknownExport(name)
        # The log will hold it: a client must not write lines of its own there.
        if not part or not part.isprintable():
            raise UnknownExport(name)
        return offer.derived(part)

    def _shows(self, offer: Offer) -> bool:
        if offer.tls_only and self._clear_text_only:
            return False
        return self._names is None or offer.name in self._names


def _clients(offer: Offer) -> str:
    if not offer.users:
        return ""
    return f" ({count_of(offer.users)}, until the last is gone)"
