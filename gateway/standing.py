"""How the gateway stands: what monitors, graphs and dashboards are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gateway import __version__
from gateway import measures as m
from gateway.config import ListenerSpec
from gateway.exports import ExportTable
from gateway.listener_table import ListenerTable
from gateway.measures import IMeasured, Measure, Sample
from gateway.offers import Offer
from gateway.traffic import BOUNDS, OPS, Connections, Traffic


class GatewayStanding:
    """
    What is told, from numbers that others keep; nothing here waits.

    Args:
        clients: who is connected, and what was done.
        wall: seconds since 1970.

    Attributes:
        exports, listeners: None before the start.
        wanted: the listeners of the configuration in use.
        stopping: whether the gateway stops.
        started, reloaded: seconds since 1970.
        reload_failed: whether the last reload was refused.
    """

    def __init__(self, clients: Connections, wall: Callable[[], float]) -> None:
        self._clients = clients
        self._wall = wall
        self.exports: ExportTable | None = None
        self.listeners: ListenerTable | None = None
        self.wanted: tuple[ListenerSpec, ...] = ()
        self.stopping = False
        self.started = self.reloaded = wall()
        self.reload_failed = False

    def start(self, exports: ExportTable, listeners: ListenerTable) -> None:
        """The gateway starts, with these."""
        self.exports, self.listeners = exports, listeners
        self._clients.account_of = exports.account_of
        self.started = self.reloaded = self._wall()

    def in_use(self, wanted: tuple[ListenerSpec, ...]) -> None:
        """A configuration with these listeners is used from now on."""
        self.wanted = wanted
        self.reloaded = self._wall()
        self.reload_failed = False
        self._clients.forget({offer.name for offer in self._offers()})

    def reasons(self) -> list[str]:
        """Why it is not ready; none if it is."""
        if self.stopping:
            return ["the gateway is stopping"]
        listening = {} if self.listeners is None else self.listeners.listeners
        reasons = [
            f"listener {spec.name} does not listen"
            for spec in self.wanted
            if spec.name not in listening
        ]
        for offer in self._offers():
            export = offer.export
            if export is None:
                reasons.append(f"export {offer.name} is not open")
            elif IMeasured.providedBy(export) and export.trouble() is not None:
                reasons.append(f"export {offer.name} takes no changes")
        return reasons

    def samples(self) -> list[Sample]:
        """Everything that is measured."""
        return [*self._of_clients(), *self._of_the_gateway(), *self._of_exports()]

    def connections(self) -> list[dict[str, Any]]:
        """The clients, for JSON, the oldest first."""
        return [
            {
                "protocol": one.protocol,
                "peer": one.peer,
                "export": one.export,
                "since": one.since,
                "tls": one.tls,
                "names": sorted(one.names),
                **one.traffic.figures(),
            }
            for one in self._clients.current
        ]

    def summary(self) -> dict[str, Any]:
        """What a dashboard asks for every second."""
        reasons = self.reasons()
        traffic: dict[str, Traffic] = {}
        for (export, _), counted in self._clients.totals().items():
            traffic.setdefault(export, Traffic()).add(counted)
        return {
            "time": self._wall(),
            "started": self.started,
            "version": __version__,
            "ready": not reasons,
            "reasons": reasons,
            "connections": len(self._clients.current),
            "latency_bounds": BOUNDS,
            "exports": [
                self._summary_of(offer, traffic.get(offer.name, Traffic()))
                for offer in self._offers()
            ],
        }

    def _summary_of(self, offer: Offer, traffic: Traffic) -> dict[str, Any]:
        export = offer.export
        storage: dict[str, Any] = {}
        if IMeasured.providedBy(export):
            for sample in export.measures():
                if isinstance(sample.value, m.Buckets):
                    continue
                place, key = storage, sample.measure.name
                for label in sample.labels:
                    place, key = place.setdefault(key, {}), label
                place[key] = sample.value
        return {
            "name": offer.name,
            "description": offer.description,
            "provider": offer.spec.provider.name,
            "open": export is not None,
            "size": None if export is None else export.info.size,
            "read_only": offer.spec.read_only,
            "clients": offer.users,
            **traffic.figures(),
            "latency": {
                word: traffic.latencies(op)
                for op, word in enumerate(OPS)
                if traffic.requests[op] and word != "refused"
            },
            "storage": storage,
        }

    def _offers(self) -> list[Offer]:
        return [] if self.exports is None else self.exports.offers()

    def _of_clients(self) -> Iterator[Sample]:
        names = {offer.name for offer in self._offers()}
        for (export, protocol), traffic in sorted(self._clients.totals().items(), key=_first):
            # Those of the configuration before, with clients that go on.
            names.add(export)
            yield from _traffic(traffic, protocol, export)
        now: dict[tuple[str, str], int] = {("nbd", name): 0 for name in sorted(names)}
        for one in self._clients.current:
            key = one.protocol, one.account
            now[key] = now.get(key, 0) + 1
        for labels, number in now.items():
            yield Sample(m.CONNECTIONS, number, labels)
        for protocol in _values("protocol"):
            accepted = self._clients.accepted.get(protocol, 0)
            yield Sample(m.CONNECTIONS_EVER, accepted, (protocol, "accepted"))
            turned_away = self._clients.turned_away.get(protocol, 0)
            yield Sample(m.CONNECTIONS_EVER, turned_away, (protocol, "turned_away"))
        for reason in _values("reason"):
            failures = self._clients.failures.get(("nbd", reason), 0)
            yield Sample(m.HANDSHAKE_FAILURES, failures, ("nbd", reason))

    def _of_the_gateway(self) -> Iterator[Sample]:
        yield Sample(m.BUILD, 1, (__version__, _installed("twisted"), _installed("boto3")))
        yield Sample(m.STARTED, self.started)
        yield Sample(m.RELOADED, self.reloaded)
        yield Sample(m.RELOAD_OK, int(not self.reload_failed))
        listeners = {} if self.listeners is None else self.listeners.listeners
        for name, listener in listeners.items():
            expires = getattr(listener.spec.server_tls, "expires", None)
            if expires is not None:
                yield Sample(m.CERTIFICATE, expires.timestamp(), (name,))

    def _of_exports(self) -> Iterator[Sample]:
        for offer in self._offers():
            export = offer.export
            yield Sample(m.EXPORT_UP, int(export is not None), (offer.name,))
            if export is None:
                continue
            yield Sample(m.EXPORT_SIZE, export.info.size, (offer.name,))
            if IMeasured.providedBy(export):
                for sample in export.measures():
                    if sample.measure in m.STORAGE:
                        labels = _bounded(sample.measure, (offer.name, *sample.labels))
                        yield Sample(sample.measure, sample.value, labels)


def _traffic(traffic: Traffic, protocol: str, export: str) -> Iterator[Sample]:
    for op, word in enumerate(OPS):
        labels = (protocol, export, word)
        yield Sample(m.REQUESTS, traffic.requests[op], labels)
        if word == "refused":
            continue
        yield Sample(m.REQUEST_BYTES, traffic.bytes[op], labels)
        took = m.Buckets(BOUNDS, traffic.latencies(op), traffic.seconds[op])
        yield Sample(m.REQUEST_SECONDS, took, labels)
    for error, number in traffic.errors.items():
        yield Sample(m.REQUEST_ERRORS, number, (protocol, export, error))
    yield Sample(m.IN_FLIGHT, traffic.in_flight, (protocol, export))


def _values(label: str) -> tuple[str, ...]:
    values = m.LABELS[label]
    assert values is not None, label
    return values


def _bounded(measure: Measure, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Storage of third parties may say what it likes; labels stay few all the same."""
    given = zip(measure.labels, labels, strict=True)
    return tuple(
        value if m.LABELS[label] is None or value in _values(label) else "other"
        for label, value in given
    )


def _first(item: tuple[tuple[str, str], Traffic]) -> tuple[str, str]:
    return item[0]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
