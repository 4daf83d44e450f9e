"""``nbdgateway`` at a running gateway, with volumes in a directory."""

from __future__ import annotations

import json
import socket
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.programs.running import run
from tests.service.twistd import PATIENCE, Twistd

Start = Callable[..., Twistd]
Tool = Callable[[str], str]

MIB = 1 << 20
CONFIGURATION = """
[gateway]
state_dir = state
[listen:u]
endpoint = unix:nbd.sock
"""
VOLUME = "[export:{name}]\nprovider = directory\npath = objects\nsize = {size}\n"


def configure(directory: Path, *names: str, size: str = "64M") -> None:
    """Write ``gw.ini`` with volumes."""
    volumes = "".join(VOLUME.format(name=name, size=size) for name in names)
    (directory / "gw.ini").write_text(CONFIGURATION + volumes)


def command(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``nbdgateway ARGUMENTS`` to its end."""
    return run("nbdgateway", *arguments, directory=directory)


def tell(directory: Path, *arguments: str) -> Any:
    """The JSON of one that succeeds."""
    done = command(directory, "--config", "gw.ini", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


class Disk:
    """An NBD client: one connection to one export."""

    def __init__(self, directory: Path, export: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(directory / "nbd.sock"))
        assert self._get(18).startswith(b"NBDMAGICIHAVEOPT")
        name = export.encode()
        choice = struct.pack(">I8sII", 3, b"IHAVEOPT", 1, len(name)) + name
        self._socket.sendall(choice)
        self.size: int = struct.unpack(">QH", self._get(10))[0]

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *failure: object) -> None:
        self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
        while self._socket.recv(1024):
            pass
        self._socket.close()

    def write(self, data: bytes) -> None:
        """At the start of the disk."""
        self._ask(1, len(data), data)

    def read(self) -> bytes:
        """The first 512 bytes."""
        self._ask(0, 512)
        return self._get(512)

    def _ask(self, kind: int, length: int, data: bytes = b"") -> None:
        head = struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, 0, length)
        self._socket.sendall(head + data)
        assert self._get(16) == struct.pack(">IIQ", 0x67446698, 0, 7)

    def _get(self, count: int) -> bytes:
        got = self._socket.recv(count, socket.MSG_WAITALL)
        assert len(got) == count, "the server ended the connection"
        return got


@pytest.mark.executes
def test_only_the_owner_reaches_the_socket_and_it_goes_with_the_gateway(
    directory: Path, start: Start
) -> None:
    """What was crashed away is replaced."""
    configure(directory, "vm")
    admin = directory / "state" / "admin.sock"
    gateway = start("--config", "gw.ini")
    gateway.wait_for("operators reach the gateway at")
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600
    gateway.process.kill()
    gateway.process.wait(PATIENCE)
    assert admin.exists()
    done = command(directory, "-c", "gw.ini", "exports")
    assert done.returncode == 5
    assert "no gateway listens there" in done.stderr
    again = start("--config", "gw.ini")
    again.wait_for("operators reach the gateway at")
    again.wait_for("export vm is open")
    assert [one["name"] for one in tell(directory, "exports")["exports"]] == ["vm"]
    again.stop()
    assert not admin.exists()
    assert "Traceback" not in again.text()


def test_the_embedded_gateway_is_found_without_a_word(
    directory: Path, start: Start, free_port: int
) -> None:
    """In the directory where it was started."""
    start("--port", str(free_port), "--http-port", "0").wait_for("export volume is open")
    done = command(directory, "snapshot", "create", "volume", "first")
    assert (done.returncode, done.stderr) == (0, "")
    assert "volume@first" in done.stdout
    done = command(directory, "snapshot", "list", "volume")
    assert done.stdout.startswith("first  20")
    done = command(directory, "snapshot", "list", "disk")
    assert (done.returncode, done.stdout) == (1, "")
    assert "its storage is no volume" in done.stderr


def test_a_snapshot_is_what_the_disk_was_and_can_be_gone_back_to(
    directory: Path, start: Start
) -> None:
    """Under a client that stays; only going back wants it gone."""
    configure(directory, "vm")
    start("--config", "gw.ini").wait_for("export vm is open")
    with Disk(directory, "vm") as disk:
        disk.write(b"a" * 512)
        taken = tell(directory, "snapshot", "create", "vm", "monday")
        assert (taken["name"], taken["size"]) == ("monday", 64 * MIB)
        disk.write(b"b" * 512)
        with Disk(directory, "vm@monday") as then:
            assert then.read() == b"a" * 512
        done = command(directory, "-c", "gw.ini", "snapshot", "rollback", "vm", "monday", "--yes")
        assert done.returncode == 4
        assert done.stderr == "nbdgateway: vm has 1 client connected\n"
        assert tell(directory, "volume", "info", "vm")["gateway"]["clients"] == 1
        assert disk.read() == b"b" * 512
    tell(directory, "snapshot", "rollback", "vm", "monday", "--yes")
    with Disk(directory, "vm") as disk:
        assert disk.read() == b"a" * 512
    assert tell(directory, "snapshot", "list", "vm") == {"snapshots": [taken]}
    tell(directory, "snapshot", "delete", "vm", "monday")
    assert tell(directory, "snapshot", "list", "vm") == {"snapshots": []}
    for deed in ("delete", "rollback"):
        done = command(directory, "-c", "gw.ini", "snapshot", deed, "vm", "monday", "--yes")
        assert done.returncode == 3


def test_others_programs_see_a_snapshot(directory: Path, start: Start, tool: Tool) -> None:
    """nbdinfo asks for it by name."""
    nbdinfo = tool("nbdinfo")
    configure(directory, "vm")
    start("--config", "gw.ini").wait_for("export vm is open")
    tell(directory, "snapshot", "create", "vm", "monday")
    done = subprocess.run(
        [nbdinfo, "--json", f"nbd+unix:///vm@monday?socket={directory / 'nbd.sock'}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    (export,) = json.loads(done.stdout)["exports"]
    assert (export["is_read_only"], export["export-size"]) == (True, 64 * MIB)


def test_what_was_changed_is_told_under_a_client(directory: Path, start: Start) -> None:
    """Of the disk as it is now, for which a snapshot is taken that is gone afterwards."""
    configure(directory, "vm")
    start("--config", "gw.ini").wait_for("export vm is open")
    tell(directory, "snapshot", "create", "vm", "monday")
    with Disk(directory, "vm") as disk:
        disk.write(b"a" * 512)
        told = tell(directory, "changed", "vm", "monday")
        assert told["extents"] == [{"start": 0, "length": 512}]
        assert (told["until"], told["size"]) == (None, 64 * MIB)
        tell(directory, "snapshot", "create", "vm", "tuesday")
        disk.write(b"b" * 1024)
        assert tell(directory, "changed", "vm", "monday", "tuesday")["extents"] == told["extents"]
    names = [one["name"] for one in tell(directory, "snapshot", "list", "vm")["snapshots"]]
    assert names == ["monday", "tuesday"]
    done = command(directory, "changed", address(directory, "vm"), "monday")
    assert (done.returncode, "process" in done.stderr) == (4, True)


def test_a_clone_is_served_after_a_reload(directory: Path, start: Start) -> None:
    """With the bytes of the snapshot, which stays as long as the clone is there."""
    configure(directory, "vm")
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export vm is open")
    with Disk(directory, "vm") as disk:
        disk.write(b"a" * 512)
        tell(directory, "snapshot", "create", "vm", "monday")
        disk.write(b"b" * 512)
    made = tell(directory, "clone", "vm", "monday", "vm2")
    assert made == {"export": "vm", "snapshot": "monday", "name": "vm2"}
    configure(directory, "vm", "vm2")
    gateway.hang_up()
    gateway.wait_for("export vm2 is open")
    with Disk(directory, "vm2") as disk:
        assert disk.read() == b"a" * 512
        disk.write(b"c" * 512)
    with Disk(directory, "vm") as disk:
        assert disk.read() == b"b" * 512
    facts = tell(directory, "volume", "info", "vm2")["gateway"]["facts"]
    assert facts["parent"] == "vm"
    done = command(directory, "-c", "gw.ini", "snapshot", "delete", "vm", "monday")
    assert done.returncode == 4
    assert "vm2" in done.stderr
    done = command(directory, "-c", "gw.ini", "clone", "vm", "monday", "vm2")
    assert done.returncode == 1
    assert "expected an empty place" in done.stderr


def test_a_new_size_is_seen_by_new_connections(directory: Path, start: Start) -> None:
    """Those there are go on with the old one."""
    configure(directory, "vm")
    start("--config", "gw.ini").wait_for("export vm is open")
    with Disk(directory, "vm") as before:
        told = tell(directory, "volume", "resize", "vm", "128M")
        assert told == {"export": "vm", "size": 128 * MIB}
        before.write(b"a" * 512)
        with Disk(directory, "vm") as after:
            assert (before.size, after.size) == (64 * MIB, 128 * MIB)
            assert after.read() == b"a" * 512
    done = command(directory, "-c", "gw.ini", "volume", "resize", "vm", "64M")
    assert done.returncode == 1
    assert "a disk does not shrink" in done.stderr


def test_garbage_is_collected(directory: Path, start: Start) -> None:
    """What was written over takes no space any more."""
    configure(directory, "vm")
    start("--config", "gw.ini").wait_for("export vm is open")
    with Disk(directory, "vm") as disk:
        for byte in (b"a", b"b", b"c"):
            disk.write(byte * 4 * MIB)
            tell(directory, "gc", "vm")
        disk.write(b"d" * 512)
        assert set(tell(directory, "gc", "vm")) == {"export", "emptied", "swept"}
        facts = tell(directory, "volume", "info", "vm")["gateway"]["facts"]
        assert facts["live_bytes"] == 4 * MIB
        assert facts["objects"] <= 2
        assert disk.read() == b"d" * 512


def test_a_volume_that_was_taken_over_is_taken_back_without_a_restart(
    directory: Path, start: Start
) -> None:
    """Not by a client that connects, only by an operator; then it is the other's no more."""
    configure(directory, "vm", "other")
    first = start("--config", "gw.ini")
    first.wait_for("export vm is open")
    with Disk(directory, "other") as undisturbed:
        undisturbed.write(b"o" * 512)
        away = directory / "away"
        away.mkdir()
        text = CONFIGURATION + VOLUME.format(name="vm", size="64M").replace("objects", "../objects")
        (away / "gw.ini").write_text(text)
        second = start("--config", "gw.ini", where=away)
        second.wait_for("export vm is open")
        with Disk(away, "vm") as disk:
            disk.write(b"b" * 512)
            tell(away, "snapshot", "create", "vm", "mine")
            assert command(directory, "-c", "gw.ini", "snapshot", "create", "vm", "x").returncode
            facts = tell(directory, "volume", "info", "vm")["gateway"]["facts"]
            assert "another gateway" in facts["failure"]
            with Disk(directory, "vm"):
                pass
            assert (
                tell(directory, "volume", "info", "vm")["gateway"]["facts"]["failure"]
                == facts["failure"]
            )
            disk.write(b"c" * 512)
        assert tell(away, "volume", "info", "vm")["gateway"]["facts"]["failure"] == ""
        second.stop()
        assert tell(directory, "reopen", "vm")["facts"]["failure"] == ""
        with Disk(directory, "vm") as disk:
            assert disk.read() == b"c" * 512
        assert undisturbed.read() == b"o" * 512


def test_of_two_gateways_with_one_state_dir_the_first_has_the_socket(
    directory: Path, start: Start
) -> None:
    """The second serves its disks and says what it lacks; the first's socket outlives it."""
    configure(directory, "vm")
    first = start("--config", "gw.ini")
    first.wait_for("export vm is open")
    other = (directory / "gw.ini").read_text().replace("nbd.sock", "second.sock")
    (directory / "second.ini").write_text(other.replace("[export:vm]", "[export:vm3]"))
    first_output, first.output = first.output, directory / "first"
    first_output.rename(first.output)
    second = start("--config", "second.ini")
    second.wait_for("no socket for operators: .* another process listens on it")
    second.wait_for("export vm3 is open")
    second.stop()
    assert [one["name"] for one in tell(directory, "exports")["exports"]] == ["vm"]


def test_a_configuration_that_does_not_tell_is_status_2(directory: Path) -> None:
    """As is a command line that says nothing."""
    done = command(directory, "-c", "gw.ini", "exports")
    assert (done.returncode, done.stdout) == (2, "")
    assert "gw.ini: cannot be read" in done.stderr
    assert command(directory).returncode == 2


def address(directory: Path, volume: str) -> str:
    """The URL of a volume, beside the configuration."""
    return f"file://{directory}/objects/{volume}"


def test_volumes_are_looked_after_without_a_gateway(directory: Path) -> None:
    """By their names in a configuration, or by URL; keys stay."""
    configure(directory, "vm", "vm2")
    url = address(directory, "vm")
    made = tell(directory, "volume", "create", "vm")
    assert (made["url"], made["size"], made["in_use"], made["owner"]) == (
        url,
        64 * MIB,
        False,
        None,
    )
    done = command(directory, "volume", "resize", url, "128M")
    assert (done.returncode, done.stderr) == (0, "")
    taken = tell(directory, "snapshot", "create", "vm", "monday")
    assert taken["size"] == 128 * MIB
    done = command(directory, "clone", url, "monday", "copies/one")
    assert "file://" in done.stdout
    listed = tell(directory, "volume", "list", address(directory, ""))["volumes"]
    assert [one["name"] for one in listed] == ["copies/one", "vm"]
    assert [one["export"] for one in tell(directory, "volume", "list")["volumes"]] == ["vm"]
    done = command(directory, "volume", "delete", url, "--yes")
    assert (done.returncode, "copies/one" in done.stderr) == (4, True)
    tell(directory, "volume", "delete", listed[0]["url"], "--yes")
    tell(directory, "snapshot", "delete", "vm", "monday")
    done = command(directory, "volume", "delete", url)
    assert (done.returncode, "cannot be undone" in done.stderr) == (2, True)
    assert tell(directory, "volume", "delete", "vm", "--yes")["volume"] == "vm"
    assert command(directory, "volume", "info", url).returncode == 3
    assert tell(directory, "volume", "create", "vm")["size"] == 64 * MIB


def test_a_volume_that_a_gateway_holds_is_served_or_refused(directory: Path, start: Start) -> None:
    """By name through the gateway, under its clients; by URL not, and it says who holds it."""
    configure(directory, "vm")
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export vm is open")
    url = address(directory, "vm")
    owner = tell(directory, "volume", "owner", url)
    assert (owner["in_use"], owner["owner"]["alive"]) == (True, True)
    holder = owner["owner"]["process"]
    assert holder == gateway.process.pid
    with Disk(directory, "vm") as disk:
        disk.write(b"a" * 512)
        for words in (
            ("volume", "resize", url, "128M"),
            ("snapshot", "create", url, "monday"),
            ("volume", "delete", url, "--yes"),
        ):
            done = command(directory, *words)
            assert done.returncode == 4
            assert f"process {holder} on {socket.gethostname()} holds it open" in done.stderr
        tell(directory, "volume", "resize", "vm", "128M")
        assert tell(directory, "volume", "info", url)["size"] == 128 * MIB
        assert disk.read() == b"a" * 512
    gateway.process.kill()
    gateway.process.wait(PATIENCE)
    known = tell(directory, "volume", "info", "vm")
    assert (known["in_use"], known["closed"], known["owner"]["alive"]) == (False, False, False)
    tell(directory, "volume", "resize", "vm", "256M")
    assert tell(directory, "volume", "info", url)["closed"]


@pytest.mark.executes
def test_no_secret_of_a_url_is_repeated(directory: Path) -> None:
    """Whatever else is wrong with it."""
    for words in (
        ("s3://me:hunter2@disks/vm",),
        ("s3://disks/vm?secret_key=hunter2",),
        ("file:///srv/vm", "-o", "passphrase=hunter2"),
    ):
        done = command(directory, "volume", "info", *words)
        assert done.returncode == 2
        assert "hunter2" not in done.stdout + done.stderr
