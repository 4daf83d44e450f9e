"""The vocabulary of the metrics, and what is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import attrs
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from zope.interface import implementer

from backends.memory import MemoryExport
from gateway import measures as m
from gateway.exports import ExportTable
from gateway.http.exposition import encode
from gateway.measures import ALL, LABELS, Buckets, IMeasured, Measure, Sample
from gateway.metrics_reference import page
from gateway.standing import GatewayStanding
from gateway.traffic import READ, Connections, Traffic
from tests.unit.gateway.fakes import FakeProvider, resources, spec

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@implementer(IMeasured)
class Measured(MemoryExport):
    """A disk that tells something of itself, and more than it should."""

    wrong: str | None = None

    def measures(self) -> Iterator[Sample]:
        yield Sample(m.VOLUME_DIRTY, 4096)
        yield Sample(m.S3_REQUESTS, 7, ("put", "ok"))
        yield Sample(m.S3_REQUESTS, 1, ("put", "a code for each request"))
        yield Sample(m.S3_SECONDS, Buckets((0.1, 1.0), (1, 2, 3), 9.5), ("put",))
        yield Sample(Measure("of_its_own", "gauge", "Nobody knows.", ("export",)), 1)

    def trouble(self) -> str | None:
        return self.wrong


@attrs.define
class Gateway:
    """A standing and what it looks at."""

    clients: Connections
    standing: GatewayStanding
    disk: Measured

    def scraped(self, accept: str = "") -> dict[tuple[str, frozenset[Any]], float]:
        """Every sample by name and labels."""
        text = encode(accept, self.standing.samples())[0].decode()
        families = parse_openmetrics(text) if accept else parse(text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def gateway() -> Gateway:
    """Of two exports: one tells of itself."""
    clients = Connections(lambda: 1000.0)
    standing = GatewayStanding(clients, lambda: 1000.0)
    table = ExportTable(resources())
    standing.start(table, Mock(listeners={}))
    disk = Measured(8192)
    table.apply(
        [
            spec('a "b"\\', FakeProvider("a", now=MemoryExport(512))),
            spec("vm", FakeProvider("vm", now=disk)),
        ],
        None,
    )
    standing.in_use(())
    return Gateway(clients, standing, disk)


def labels(**values: str) -> frozenset[Any]:
    return frozenset(values.items())


def test_the_committed_page_is_what_the_code_says() -> None:
    """``python -m gateway.metrics_reference > docs/reference/metrics.md`` was run."""
    assert _PAGE.read_text() == page()


@pytest.mark.parametrize("measure", ALL, ids=lambda measure: measure.name)
def test_every_measure_says_what_it_is(measure: Measure) -> None:
    """A sentence of help, a base unit, and labels that are listed."""
    assert re.fullmatch(r"[A-Z].+[^.]\.", measure.help)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", measure.name)
    assert not re.search(r"_(ms|millis|us|kib|mib|kb|mb|percent|total|info)(_|$)", measure.name)
    assert set(measure.labels) <= LABELS.keys()
    if measure.kind == m.HISTOGRAM:
        assert measure.name.endswith("_seconds")


def test_no_two_measures_share_a_family() -> None:
    """OpenMetrics has one kind for one name."""
    names = [measure.name for measure in ALL]
    assert len(set(names)) == len(names)


def test_labels_do_not_grow_with_clients() -> None:
    """Those without a list of values are names in the configuration, an address, or versions."""
    free = {label for label, values in LABELS.items() if values is None}
    assert free == {"export", "listener", "volume", "version", "twisted", "boto3"}


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_everything_is_exposed(gateway: Gateway, accept: str) -> None:
    """In both formats, as other projects' parsers read them."""
    traffic = Traffic()
    gateway.clients.enter("nbd", "peer", "vm", traffic)
    traffic.requests[READ], traffic.bytes[READ] = 10, 5120
    traffic.waiting[READ] = 2
    traffic.answered(READ, 0.75)
    traffic.fail("io")
    scraped = gateway.scraped(accept)
    about = {"protocol": "nbd", "export": "vm"}
    read = {**about, "op": "read"}
    assert scraped["nbdgw_requests_total", labels(**read)] == 10
    assert scraped["nbdgw_request_bytes_total", labels(**read)] == 5120
    assert scraped["nbdgw_request_errors_total", labels(**about, error="io")] == 1
    assert scraped["nbdgw_inflight_requests", labels(**about)] == 1
    assert scraped["nbdgw_connections", labels(**about)] == 1
    assert scraped["nbdgw_request_seconds_bucket", labels(**read, le="0.001")] == 8
    assert scraped["nbdgw_request_seconds_bucket", labels(**read, le="1.0")] == 9
    assert scraped["nbdgw_request_seconds_count", labels(**read)] == 9
    assert scraped["nbdgw_request_seconds_sum", labels(**read)] == 0.75
    assert scraped["nbdgw_export_size_bytes", labels(export='a "b"\\')] == 512
    assert scraped["nbdgw_volume_dirty_bytes", labels(export="vm")] == 4096
    put = {"export": "vm", "verb": "put"}
    assert scraped["nbdgw_s3_requests_total", labels(**put, code="ok")] == 7
    assert scraped["nbdgw_s3_request_seconds_bucket", labels(**put, le="1.0")] == 3
    assert scraped["nbdgw_config_last_reload_success_timestamp_seconds", labels()] == 1000


def test_storage_cannot_make_names_or_labels(gateway: Gateway) -> None:
    """What is not in the vocabulary is left out, or is ``other``."""
    scraped = gateway.scraped()
    assert not [name for name, _ in scraped if "of_its_own" in name]
    other = labels(export="vm", verb="put", code="other")
    assert scraped["nbdgw_s3_requests_total", other] == 1


def test_every_value_of_a_label_is_listed(gateway: Gateway) -> None:
    """Whatever clients did."""
    for protocol, export in (("nbd", "vm"), ("http", "vm"), ("nbd", "vm@monday")):
        gateway.clients.leave(gateway.clients.enter(protocol, "peer", export, Traffic()))
    gateway.clients.fail("nbd", "timeout")
    exports = set()
    for sample in gateway.standing.samples():
        for label, value in zip(sample.measure.labels, sample.labels, strict=True):
            allowed = LABELS[label]
            assert allowed is None or value in (*allowed, "other"), sample
            if label == "export":
                exports.add(value)
    assert exports == {'a "b"\\', "vm"}


def test_certificates_tell_when_they_end(gateway: Gateway) -> None:
    """By listener; those with keys have no end."""
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    listening = {"net": Mock()}
    listening["net"].spec = Mock(server_tls=Mock(expires=ends))
    listening["keys"] = Mock()
    listening["keys"].spec = Mock(server_tls=Mock(expires=None))
    gateway.standing.listeners = Mock(listeners=listening)
    found = {
        key: value
        for key, value in gateway.scraped().items()
        if key[0] == "nbdgw_tls_certificate_expiry_timestamp_seconds"
    }
    assert [*found.values()] == [ends.timestamp()]


def test_a_volume_in_trouble_is_not_ready(gateway: Gateway) -> None:
    """Why is in the log, and with a token on ``/v1/exports``: it may name objects."""
    assert gateway.standing.reasons() == []
    gateway.disk.wrong = "log/17 was written by another gateway"
    assert gateway.standing.reasons() == ["export vm takes no changes"]


def test_listeners_that_do_not_listen_are_a_reason(gateway: Gateway) -> None:
    """Such as one that could not get its port back."""
    gateway.standing.in_use((Mock(), Mock()))
    gateway.standing.wanted[0].name = "one"
    gateway.standing.wanted[1].name = "two"
    gateway.standing.listeners = Mock(listeners={"two": Mock()})
    assert gateway.standing.reasons() == ["listener one does not listen"]


def test_the_summary_has_storage_by_name(gateway: Gateway) -> None:
    """Without histograms, which a dashboard does not want every second."""
    vm = gateway.standing.summary()["exports"][1]
    assert vm["storage"]["volume_dirty_bytes"] == 4096
    assert vm["storage"]["s3_requests"]["put"]["ok"] == 7
    assert "s3_request_seconds" not in vm["storage"]
