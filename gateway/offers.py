"""Exports as they are offered: those of the configuration, and what derives from them."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.config import ExportSpec
from gateway.errors import ExportBusy, ExportUnavailable, UnknownExport
from gateway.interfaces import IDerivedExports, IExport, IOffer, NowOrLater, Resources
from gateway.sharing import SharedExport, State, count_of


@implementer(IOffer)
class Offer(SharedExport):
    """One export of the configuration; kept open until the offer is retired."""

    def __init__(
        self, spec: ExportSpec, resources: Resources, predecessors: Iterable[Offer] = ()
    ) -> None:
        """
        Args:
            predecessors: offers that hold the same name or storage and are
                retired; this one is opened when they are closed.
        """
        super().__init__()
        self.spec = spec
        self._resources = resources
        self._predecessors = tuple(predecessors)
        #: Whoever has one, or waits for one, keeps it here for the others.
        self._derived: WeakValueDictionary[str, DerivedOffer] = WeakValueDictionary()

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

    def derived(self, part: str) -> DerivedOffer:
        """The offer of what the export calls ``part``, if there is such a thing: opening tells."""
        offer = self._derived.get(part)
        if offer is None:
            offer = self._derived[part] = DerivedOffer(self, part)
        return offer

    def close(self) -> Deferred[None]:
        self._retired = True
        derived = [offer.close() for offer in [*self._derived.values()]]
        gatherResults(derived).addCallback(lambda _: self._close())
        return self.when_closed()

    def _begin(self) -> None:
        self._state = State.OPENING
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
            self._ask_storage()
            return
        gatherResults([offer.when_closed() for offer in held]).addCallback(
            lambda _: self._ask_storage()
        )

    def _open_export(self) -> NowOrLater[IExport]:
        spec = self.spec
        export: NowOrLater[IExport] = spec.provider.open_export(
            spec.name, spec.settings, spec.read_only, self._resources
        )
        return export

    def _let_go(self) -> None:
        """Nothing is held but the export itself."""


@implementer(IOffer)
class DerivedOffer(SharedExport):
    """
    What derives from an export: ``EXPORT@PART``, for those who may use the export.

    It is open only while it is used, and keeps its export open as long.
    """

    _kept = False

    def __init__(self, base: Offer, part: str) -> None:
        super().__init__()
        self._base = base
        self._part = part

    @property
    def name(self) -> str:
        return f"{self._base.name}@{self._part}"

    @property
    def description(self) -> str:
        return self._base.description

    @property
    def tls_only(self) -> bool:
        return self._base.tls_only

    @property
    def retired(self) -> bool:
        return self._retired or self._base.retired

    def admits(self, names: frozenset[str]) -> bool:
        return self._base.admits(names)

    def _open_export(self) -> NowOrLater[IExport]:
        return Deferred.fromCoroutine(self._derive())

    async def _derive(self) -> IExport:
        opened = self._base.open()
        base = await opened if isinstance(opened, Deferred) else opened
        try:
            if not IDerivedExports.providedBy(base):
                raise UnknownExport(self.name)
            opening = base.derived(self._part)
            export: IExport = await opening if isinstance(opening, Deferred) else opening
            if not export.info.read_only:
                await maybeDeferred(export.close)
                raise ExportUnavailable("its storage provider would let clients change it")
        except BaseException:
            self._base.release()
            raise
        return export

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, UnknownExport):
            # A client's guess is nothing for the log.
            self._refuse(failure.value)
        else:
            super()._failed(failure)

    def _let_go(self) -> None:
        self._base.release()
