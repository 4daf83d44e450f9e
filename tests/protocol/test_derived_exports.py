"""``volume@snapshot`` as an export name, over the wire."""

from __future__ import annotations

import pytest

from gateway.exports import ExportTable
from gateway.nbd.constants import NBD_FLAG_READ_ONLY
from tests.doubles.volume import Volume
from tests.protocol.servers import InMemory
from tests.unit.gateway.fakes import FakeProvider, resources, spec
from tests.wire_format import (
    EPERM,
    EXPORT_NAME,
    GO,
    INFO,
    LIST_META,
    SET_META,
    TLS_REQD,
    UNKNOWN,
    WRITE,
    info_data,
    meta_data,
    option,
)

SIZE = 1 << 20
QEMUS = "qemu:dirty-bitmap:"


@pytest.fixture
def volume() -> Volume:
    """With a snapshot called monday of a disk that begins with an "x"."""
    made = Volume(SIZE)
    made.write(0, b"x", False)
    made.take_snapshot("monday")
    return made


@pytest.fixture
def table(memory: InMemory, volume: Volume) -> ExportTable:
    """The gateway's own table of exports, behind the server in memory."""
    made = ExportTable(resources())
    made.apply(
        [
            spec("vm1", FakeProvider(now=volume)),
            spec("tls", FakeProvider(now=Volume(SIZE)), tls_only=True),
            spec("hers", FakeProvider(now=volume), tls_clients=frozenset({"cn:hers"})),
        ],
        "vm1",
    )
    memory.factory.source = made.view(None)
    return made


def test_a_snapshot_is_a_read_only_disk(
    memory: InMemory, table: ExportTable, volume: Volume, framing: str
) -> None:
    """What the volume was, while the volume goes on."""
    writer = memory.connect().greet().agree(framing).go("vm1")
    reader = memory.connect().greet().agree(framing).go("vm1@monday")
    writer.write(0, b"y")
    assert (writer.read(0, 1), reader.read(0, 1)) == (b"y", b"x")
    assert reader.flags & NBD_FLAG_READ_ONLY
    assert reader.call(WRITE, 0, data=b"z").error == EPERM
    assert [*memory.connect().greet().exports()] == ["vm1"]


def test_a_snapshot_is_open_as_long_as_clients_use_it(
    memory: InMemory, table: ExportTable, volume: Volume
) -> None:
    """One for all of them, and none afterwards."""
    clients = [memory.connect().greet().go("vm1@monday") for _ in range(3)]
    assert (volume.opened, volume.closed) == (["monday"], [])
    for client in clients:
        assert volume.closed == []
        client.disconnect()
    assert (volume.opened, volume.closed) == (["monday"], ["monday"])
    memory.connect().greet().go("vm1@monday")
    assert volume.opened == ["monday"] * 2


def test_a_client_that_only_looked_lets_the_snapshot_go(
    memory: InMemory, table: ExportTable, volume: Volume
) -> None:
    """INFO opens; what GO chose stays."""
    client = memory.connect().greet()
    client.info(INFO, "vm1@monday")
    client.go("vm1")
    assert (volume.opened, volume.closed) == (["monday"], ["monday"])


@pytest.mark.parametrize("name", ["vm1@sunday", "vm2@monday", "vm1@", "@monday", "hers@monday"])
@pytest.mark.parametrize("number", [INFO, GO, LIST_META, SET_META])
def test_an_unknown_snapshot_is_an_unknown_export(
    memory: InMemory, table: ExportTable, number: int, name: str
) -> None:
    """
    M2: in the same words, whether volume or snapshot is missing, or is another's.
    """
    client = memory.connect().greet().agree("structured")
    data = info_data(name) if number in (INFO, GO) else meta_data(name)
    replies = client.option(number, data)
    assert replies == [(UNKNOWN, f'export "{name}" is not offered here'.encode())]
    client.go("vm1@monday")


def test_an_unknown_snapshot_ends_the_oldest_handshake(
    memory: InMemory, table: ExportTable
) -> None:
    """EXPORT_NAME knows no errors."""
    client = memory.connect().greet()
    client.connection.send(option(EXPORT_NAME, b"vm1@sunday"))
    client.expect_end()


def test_a_snapshot_needs_tls_where_its_volume_does(
    memory: InMemory, table: ExportTable, volume: Volume
) -> None:
    """
    T3: nothing of it is opened in clear text, or told.
    """
    memory.factory.tls_mode = "allow"
    client = memory.connect().greet()
    for name in ("tls", "tls@monday", "tls@sunday"):
        assert client.error(INFO, info_data(name)) == TLS_REQD
    assert volume.opened == []


def test_changes_since_a_snapshot_tell_what_to_copy(
    memory: InMemory, table: ExportTable, volume: Volume, chunks: str
) -> None:
    """An incremental backup: from the volume where it changed, the rest from the snapshot."""
    volume.write(4096, b"y" * 512, False)
    client = memory.connect().greet().agree(chunks)
    client.set_contexts("vm1", QEMUS + "monday")
    words = client.go("vm1").status(0, SIZE)[QEMUS + "monday"]
    assert words == [(4096, 0), (512, 1), (SIZE - 4608, 0)]
    snapshot = memory.connect().greet().agree(chunks).go("vm1@monday")
    copy = bytearray(snapshot.read(0, SIZE))
    copy[4096:4608] = client.read(4096, 512)
    assert copy == client.read(0, SIZE)
