"""
Backups of volumes by other projects' clients: snapshots, whole and by what changed.

Snapshots are taken by the gateway's own command, while clients write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest

from tests.crash.stamping_writer import ZONES, Ledger, StampingWriter
from tests.doubles.moto_server import aws_environment, s3_process, s3_server
from tests.interop.clients import PATIENCE, Clients
from tests.interop.gateway import MIB
from tests.interop.test_volumes import SIZE, Volume, keys, volume
from tests.programs.running import run
from tests.service.twistd import until
from tests.wire import Client, SocketConnection

__all__ = ["aws_environment", "keys", "s3_process", "s3_server", "volume"]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

Extents = list[tuple[int, int]]


def snapshot(volume: Volume, name: str) -> None:
    """As an operator does."""
    config = str(volume.directory / "gw.ini")
    arguments = ["--config", config, "snapshot", "create", "vm1", name]
    done = run("nbdgateway", *arguments, directory=volume.directory)
    assert done.returncode == 0, done.stderr + done.stdout


def of(volume: Volume, name: str) -> str:
    """The URI of a snapshot."""
    return volume.uri.replace("/vm1?", f"/vm1@{name}?")


@contextmanager
def writing(volume: Volume, ledger: Ledger, seed: int) -> Iterator[StampingWriter]:
    """While a client writes without end; errors, and reads that are wrong, fail the test."""
    client = Client(SocketConnection.unix(str(volume.directory / "nbd.sock")))
    client.greet().agree("structured").go("vm1")
    writer = StampingWriter(client, ledger, Random(seed), 8)
    enough = Event()
    outcome: list[Any] = []

    def write() -> None:
        try:
            outcome.append(writer.write_until(enough.is_set))
        except BaseException as failure:
            outcome.append(failure)

    thread = Thread(target=write)
    thread.start()
    try:
        yield writer
    finally:
        enough.set()
        thread.join(PATIENCE)
        client.connection.close()
    assert outcome == [True]


def image_of(clients: Clients, uri: str) -> bytes:
    """A whole disk."""
    clients.run("nbdcopy", uri, "image.raw")
    return (clients.directory / "image.raw").read_bytes()


def in_zones(image: bytes) -> bytes:
    """The parts of a disk that the writer writes to."""
    return b"".join(image[start : start + length] for start, length in ZONES.zones)


def test_a_snapshot_is_taken_and_copied_under_load(clients: Clients, volume: Volume) -> None:
    """It has all that was answered before, a prefix of what was under way, and nothing newer."""
    volume.serve()
    ledger = Ledger()
    ledger.branch.pinned = 1
    with writing(volume, ledger, 1) as writer:
        until(lambda: writer.answered >= 300, "answers")
        asked = ledger.moment()
        snapshot(volume, "monday")
    then = ledger.branch.freeze()
    with writing(volume, ledger, 2):
        image = image_of(clients, of(volume, "monday"))
        clients.run("qemu-img", "convert", "-O", "raw", of(volume, "monday"), "again.raw")
    assert len(image) == SIZE
    then.check_crash(in_zones(image), floor=asked)
    assert (clients.directory / "again.raw").read_bytes() == image
    volume.check_log()


def change(clients: Clients, volume: Volume) -> None:
    """Data, zeroes and holes, some of it in part of a sector or where it was so already."""
    clients.qemu_io(
        volume.uri,
        "write -P 9 1M 64k",
        "write -P 9 5000 300",
        "write -z -u 3M 1M",
        "write -z 4M 1M",
        "discard 6M 1M",
        "write -P 7 8M 512",
        "write -P 8 50M 2M",
        "flush",
    )


def changed_by_libnbd(clients: Clients, volume: Volume, until: str = "") -> Extents:
    """Since monday, now or until another snapshot, by nbdinfo."""
    context = "x-nbdgateway:changed:monday"
    uri = of(volume, until) if until else volume.uri
    text = clients.run("nbdinfo", "--json", f"--map={context}", uri)
    return [(one["offset"], one["length"]) for one in json.loads(text) if one["type"] & 1]


def changed_by_qemu(clients: Clients, volume: Volume, until: str = "") -> Extents:
    """The same by qemu-img: what its option shows as not being data."""
    socket = volume.directory / "nbd.sock"
    export = f"vm1@{until}" if until else "vm1"
    options = f"driver=nbd,server.type=unix,server.path={socket},export={export}"
    bitmap = "x-dirty-bitmap=qemu:dirty-bitmap:monday"
    text = clients.run("qemu-img", "map", "--output=json", "--image-opts", f"{options},{bitmap}")
    return [(one["start"], one["length"]) for one in json.loads(text) if not one["data"]]


@pytest.fixture
def backed_up(clients: Clients, volume: Volume) -> Path:
    """A whole copy of the snapshot monday; since then the volume has changed."""
    volume.serve()
    clients.qemu_io(volume.uri, "write -P 1 0 16M", "write -P 2 40M 8M", "flush")
    snapshot(volume, "monday")
    clients.run("nbdcopy", of(volume, "monday"), "backup.raw")
    change(clients, volume)
    return clients.directory / "backup.raw"


@pytest.mark.parametrize("changed", [changed_by_libnbd, changed_by_qemu])
def test_the_changes_are_what_was_changed(
    clients: Clients,
    volume: Volume,
    backed_up: Path,
    changed: Callable[[Clients, Volume], Extents],
) -> None:
    """To the sector, also after a crash and by another gateway process."""
    expected = [
        (4608, 1024),
        (MIB, 65536),
        (3 * MIB, 2 * MIB),
        (6 * MIB, MIB),
        (8 * MIB, 512),
        (50 * MIB, 2 * MIB),
    ]
    assert merged(changed(clients, volume)) == expected
    volume.kill()
    volume.serve()
    assert merged(changed(clients, volume)) == expected
    volume.check_log()


def merged(extents: Extents) -> Extents:
    """Neighbours are one."""
    found: Extents = []
    for offset, length in extents:
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((offset, length))
    return found


def copy_extents(h: Any, path: str, extents: Extents) -> None:
    """Copy ranges of a disk into a file; in nbdsh."""
    with open(path, "r+b") as file:
        for offset, length in extents:
            for start in range(offset, offset + length, 1 << 20):
                file.seek(start)
                file.write(h.pread(min(1 << 20, offset + length - start), start))


def test_an_incremental_backup_by_libnbd_of_a_disk_in_use(
    clients: Clients, volume: Volume, backed_up: Path
) -> None:
    """A second snapshot, and of it only what changed since the first: the copy is the second."""
    ledger = Ledger()
    ledger.start_anew(in_zones(image_of(clients, volume.uri)))
    with writing(volume, ledger, 3) as writer:
        until(lambda: writer.answered >= 200, "answers")
        snapshot(volume, "tuesday")
        extents = changed_by_libnbd(clients, volume, "tuesday")
        clients.nbdsh(of(volume, "tuesday"), copy_extents, str(backed_up), extents)
        tuesday = image_of(clients, of(volume, "tuesday"))
    assert sum(length for _, length in extents) < 12 * MIB
    assert backed_up.read_bytes() == tuesday
    volume.check_log()


def test_an_incremental_backup_by_qemu_of_a_disk_in_use(
    clients: Clients, volume: Volume, backed_up: Path
) -> None:
    """An overlay takes what changed, by copy on read, and is put on the whole copy."""
    ledger = Ledger()
    ledger.start_anew(in_zones(image_of(clients, volume.uri)))
    with writing(volume, ledger, 5) as writer:
        until(lambda: writer.answered >= 200, "answers")
        snapshot(volume, "tuesday")
        tuesday = of(volume, "tuesday")
        create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", tuesday]
        clients.run("qemu-img", *create, "tuesday.qcow2")
        reads = [
            part
            for offset, length in changed_by_qemu(clients, volume, "tuesday")
            for part in ("-c", f"r {offset} {length}")
        ]
        text = clients.run("qemu-io", "-C", "-f", "qcow2", *reads, "tuesday.qcow2")
        assert "failed" not in text
        rebase = ["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", backed_up]
        clients.run("qemu-img", *rebase, "tuesday.qcow2")
        same = ["compare", "-f", "qcow2", "-F", "raw", "tuesday.qcow2", tuesday]
        clients.run("qemu-img", *same)
    mapped = json.loads(clients.run("qemu-img", "map", "--output=json", "tuesday.qcow2"))
    assert sum(one["length"] for one in mapped if one["depth"] == 0) < 16 * MIB
    volume.check_log()


def test_a_snapshot_knows_the_older_ones(clients: Clients, volume: Volume, backed_up: Path) -> None:
    """And the disk knows all."""
    snapshot(volume, "tuesday")
    known = {"": ["monday", "tuesday"], "tuesday": ["monday"], "monday": []}
    for name, older in known.items():
        uri = of(volume, name) if name else volume.uri
        (export,) = json.loads(clients.run("nbdinfo", "--json", uri))["exports"]
        contexts = [one for one in export["contexts"] if one.startswith("x-nbdgateway:changed:")]
        assert contexts == [f"x-nbdgateway:changed:{one}" for one in older]
    assert changed_by_libnbd(clients, volume, "tuesday") == changed_by_libnbd(clients, volume)


def test_a_backup_goes_back_over_the_volume(
    clients: Clients, volume: Volume, backed_up: Path
) -> None:
    """What was copied out of a snapshot is copied in again, and then both are the same."""
    clients.run("nbdcopy", "--flush", backed_up, volume.uri)
    for one in (backed_up, of(volume, "monday")):
        clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", one, volume.uri)
    volume.check_log()
