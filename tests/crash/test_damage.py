"""Damaged objects, foreign objects, full disks: told clearly, and nobody else suffers."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from backends.volume.header import Codec, Kind
from backends.volume.sealing import seal
from backends.volume.superblock_json import decode
from tests.crash.places import PREFIX, Place
from tests.crash.served import KIB, MIB, Served
from tests.interop.clients import find
from tests.service.twistd import PATIENCE, until
from tests.wire import Client
from tests.wire_format import FLUSH, READ

pytestmark = pytest.mark.timeout(400)

Serve = Callable[..., Served]
Damage = Callable[[Place, str], None]

KEYS = "object_size = 256K\nupload_delay = 3600\nmemory_cache = 0\n"
OTHER = "[export:other]\nprovider = memory\nsize = 1M\n"


def truncate(place: Place, name: str) -> None:
    """The last third is missing."""
    data = place.read(name)
    place.write(name, data[: len(data) * 2 // 3])


def flip(place: Place, name: str) -> None:
    """A bit in the last quarter is another."""
    data = bytearray(place.read(name))
    data[len(data) * 7 // 8] ^= 4
    place.write(name, bytes(data))


def lose(place: Place, name: str) -> None:
    """It is not there."""
    place.delete(name)


def replace(place: Place, name: str) -> None:
    """Something of another kind has its name."""
    place.write(name, b"<html>it works</html>" * 100)


DAMAGES: list[Damage] = [truncate, flip, lose, replace]


def noise(number: int) -> bytes:
    """An object's worth, the same each time."""
    return Random(number).randbytes(256 * KIB)


#: The objects of such a volume once it was filled.
_FILLED: dict[str, bytes] = {}


@pytest.fixture
def filled(served: Serve, place: Place) -> Served:
    """A volume of four objects with noise, beside an export of another kind; closed."""
    gateway = served("one", KEYS, OTHER)
    if _FILLED:
        for name, data in _FILLED.items():
            place.write(name, data)
        return gateway
    gateway.serve()
    with gateway.connect() as client:
        for number in range(4):
            client.write(number * 256 * KIB, noise(number))
            client.done(FLUSH)
    gateway.stop()
    _FILLED.update((name, place.read(name)) for name in place.names())
    return gateway


def largest(place: Place, folder: str) -> list[str]:
    """The four data objects, or what there is, by their names in order."""
    names = place.names(f"{PREFIX}/{folder}")
    return sorted(sorted(names, key=lambda name: -len(place.read(name)))[:4])


def check_the_other(gateway: Served) -> None:
    """The export in memory serves on."""
    with gateway.connect("other") as client:
        client.write(0, b"\5" * 512)
        assert client.read(0, 512) == b"\5" * 512


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_data_is_an_error_that_names_the_object(
    filled: Served, place: Place, damage: Damage
) -> None:
    """EIO for its sectors and none other; writing them anew heals them."""
    victim = largest(place, "log")[1]
    damage(place, victim)
    gateway = filled
    gateway.serve()
    with gateway.connect() as client:
        answer = client.call(READ, 256 * KIB, 256 * KIB)
        assert answer.error == errno.EIO
        assert answer.text is not None and victim in answer.text
        told = [line for line in gateway.text().splitlines() if '"level": "critical"' in line]
        assert told and all(victim in line for line in told)
        for number in (0, 2, 3):
            assert client.read(number * 256 * KIB, 256 * KIB) == noise(number)
        check_the_other(gateway)
        client.write(256 * KIB, noise(9))
        client.done(FLUSH)
        assert client.read(256 * KIB, 256 * KIB) == noise(9)
    gateway.stop()
    gateway.serve()
    with gateway.connect() as client:
        assert client.read(256 * KIB, 256 * KIB) == noise(9)
    assert "Traceback" not in gateway.text()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_map_keeps_the_volume_closed_and_names_the_object(
    filled: Served, place: Place, damage: Damage
) -> None:
    """Nothing is served that might be wrong; put back, it is all there."""
    (victim,) = largest(place, "ck")[-1:]
    data = place.read(victim)
    place.write(victim, data)
    if damage is flip:  # anywhere but in what was superseded
        place.write(victim, bytes(byte ^ 4 for byte in data))
    else:
        damage(place, victim)
    check_that_it_stays_closed(filled, victim)
    place.write(victim, data)
    filled.serve()
    with filled.connect() as client:
        assert client.read(768 * KIB, 256 * KIB) == noise(3)


@pytest.mark.parametrize("damage", [truncate, flip, replace], ids=lambda damage: damage.__name__)
def test_a_damaged_superblock_keeps_the_volume_closed(
    filled: Served, place: Place, damage: Damage
) -> None:
    """An older one is no substitute."""
    victim = place.names(f"{PREFIX}/sb")[-1]
    data = place.read(victim)
    damage(place, victim)
    check_that_it_stays_closed(filled, victim)
    place.write(victim, data)
    filled.serve()


def check_that_it_stays_closed(gateway: Served, *texts: str) -> None:
    """With these in the log's reason, and beside an export that serves."""
    reason = gateway.begin().wait_for(f"export {PREFIX} cannot be opened: .*").group()
    for text in texts:
        assert text in reason
    check_the_other(gateway)
    gateway.stop()
    assert "Traceback" not in gateway.text()


def test_a_volume_of_a_later_version_is_refused_for_what_it_needs(
    filled: Served, place: Place
) -> None:
    """By the number in front, and by the names of features."""
    newest = place.names(f"{PREFIX}/sb")[-1]
    data = place.read(newest)
    place.write(newest, data[:8] + bytes([data[8] ^ 2, data[9]]) + data[10:])
    check_that_it_stays_closed(filled, newest, "format version", "expected 1")

    superblock = decode(data, newest)
    fields = json.loads(data[data.index(b"{\n") : data.rindex(b"}") + 1])
    fields["features"] = ["teleportation"]
    sealed = seal(
        Kind.SUPERBLOCK,
        superblock.volume,
        superblock.writer,
        superblock.epoch,
        superblock.generation,
        0,
        superblock.written_ms,
        (),
        [json.dumps(fields).encode()],
        Codec.NONE,
        None,
    )
    place.write(newest, b"".join(sealed.parts))
    check_that_it_stays_closed(filled, newest, "teleportation")
    place.write(newest, data)
    filled.serve()


def test_foreign_objects_are_left_alone(filled: Served, place: Place) -> None:
    """They are neither read nor deleted; where there is no volume, none is made around them."""
    foreign = [f"{PREFIX}/readme.txt", f"{PREFIX}/log/notes", f"{PREFIX}/sb/zzz"]
    for name in foreign:
        place.write(name, b"mine")
    filled.serve()
    with filled.connect() as client:
        assert client.read(0, 256 * KIB) == noise(0)
        client.write(MIB, noise(5))
        client.done(FLUSH)
    filled.stop()
    assert all(place.read(name) == b"mine" for name in foreign)
    for name in place.names():
        if name not in foreign:
            place.delete(name)
    check_that_it_stays_closed(filled, "has objects and no volume", "expected an empty place")


def test_two_exports_of_one_volume_are_refused_together(filled: Served, place: Place) -> None:
    """At the start nothing is served; a running gateway keeps what it has."""
    gateway = filled
    twin = f"[export:twin]\n{place.section()}prefix = {PREFIX}\n"
    complaint = "[export:vm1] and [export:twin] are the same storage"
    gateway.more = OTHER + twin
    process = gateway.begin()
    assert process.process.wait(PATIENCE) != 0
    assert complaint in gateway.text()

    gateway.more = OTHER
    process = gateway.serve()
    configuration = gateway.directory / "gw.ini"
    configuration.write_text(configuration.read_text() + twin)
    process.hang_up()
    until(lambda: complaint in gateway.text(), complaint)
    with gateway.connect() as client:
        assert client.read(0, 256 * KIB) == noise(0)
    check_the_other(gateway)


def test_a_full_journal_makes_clients_wait(served: Serve, place: Place) -> None:
    """While the store is away; nobody hears of a full disk, and all is written in the end."""
    gateway = served(
        "one",
        "durability = journal\njournal_size = 128M\ndirty_limit = 1G\nupload_delay = 0.1\n",
        OTHER,
    )
    gateway.serve()
    place.cut()
    done: list[int] = []
    errors: list[int] = []
    data = Random(1).randbytes(MIB)

    def write(client: Client) -> None:
        for number in range(160):
            answer = client.call(1, number % 40 * MIB, data=data)
            done.append(number)
            if answer.error:
                errors.append(answer.error)

    with gateway.connect() as client:
        thread = Thread(target=write, args=(client,))
        thread.start()
        try:
            until(lambda: len(done) > 100 or bool(errors), "a journal that is nearly full")
            check_the_other(gateway)
            assert len(done) < 140  # more do not fit
        finally:
            place.join()
            thread.join(3 * PATIENCE)
        assert not thread.is_alive()
        assert len(done) == 160
        assert not errors
        client.done(FLUSH)
        assert client.read(39 * MIB, MIB) == data


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 1 MiB where the cache of the gateway will be; only root can make one."""
    mount = directory / "one" / "nbdgateway-state" / "cache"
    mount.mkdir(parents=True)
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    command = [find("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr}")
    yield mount
    subprocess.run([find("umount"), "-l", str(mount)], check=True, timeout=PATIENCE)


def test_a_cache_on_a_full_disk_is_turned_off(small_disk: Path, served: Serve) -> None:
    """With a line in the log; clients notice nothing."""
    gateway = served("one", KEYS + "cache_size = 8M\n")
    gateway.serve()
    with gateway.connect() as client:
        for number in range(8):
            client.write(number * 256 * KIB, noise(number))
        client.done(FLUSH)
    gateway.stop()
    gateway.serve()
    with gateway.connect() as client:
        for number in range(8):
            assert client.read(number * 256 * KIB, 256 * KIB) == noise(number)
        for number in range(8):
            assert client.read(number * 256 * KIB, 256 * KIB) == noise(number)
    assert re.search("disk cache .* is turned off: .*No space left on device", gateway.text())
    assert not gateway.alarms()
