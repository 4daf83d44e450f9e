"""A real gateway under a parent that plays systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.twistd import PATIENCE, ROOT, TWISTD, environment, until

Tool = Callable[[str], str]

MEMORY = "[export:m]\nprovider = memory\nsize = 1M\n"
LISTEN = "[listen:u]\nendpoint = unix:nbd.sock\n"

#: A storage provider that opens once a file is there, and closes once another is.
LATE = """
import os
import attrs
from twisted.internet.task import LoopingCall
from twisted.plugin import IPlugin
from zope.interface import implementer
from gateway.info import ExportInfo
from gateway.interfaces import IStorageProvider

@attrs.frozen
class Settings:
    pass

def once(path, resources, answer):
    loop = LoopingCall(lambda: os.path.exists(path) and loop.stop())
    loop.clock = resources.reactor
    return loop.start(0.02).addCallback(lambda _: answer)

class Export:
    info = ExportInfo(4096)
    def __init__(self, resources):
        self.resources = resources
    def close(self):
        self.resources.tell("late", "storing 12.0 MiB")
        return once("close", self.resources, None)

@implementer(IPlugin, IStorageProvider)
class Late:
    name = "late"
    settings = Settings
    def problems(self, settings, read_only):
        return []
    def identity(self, settings):
        return None
    def describe(self, settings):
        return "when it is time"
    def open_export(self, name, settings, read_only, resources):
        resources.tell(name, "replaying its journal, 3 of 17 records")
        return once("open", resources, Export(resources))

late = Late()
"""


class Manager:
    """
    What systemd is to a service with ``Type=notify``.

    Attributes:
        said: every line that the service sent.
        process: the service.
    """

    def __init__(self, directory: Path, address: str, watchdog: float, *arguments: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self._socket.settimeout(PATIENCE)
        self.said: list[str] = []
        path = os.pathsep.join([str(directory / "path"), environment()["PYTHONPATH"]])
        variables = {"NOTIFY_SOCKET": address, "PYTHONPATH": path}
        if watchdog:
            variables["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        with (directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*TWISTD, "--nodaemon", "--pidfile=", "nbdgateway", *arguments],
                cwd=directory,
                env={**environment(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, *words: str) -> list[str]:
        """The lines of the first message from now on that has a line with each of the words."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            self.said += lines
            if all(any(word in line for line in lines) for word in words):
                return lines

    def end(self) -> None:
        """Whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture
def managed(directory: Path) -> Iterator[Callable[..., Manager]]:
    """Starts gateways under a manager."""
    started: list[Manager] = []

    def start(watchdog: float = 0.0, abstract: bool = False, exports: str = MEMORY) -> Manager:
        (directory / "gw.ini").write_text(LISTEN + exports)
        address = ("@" if abstract else "") + str(directory / "notify")
        started.append(Manager(directory, address, watchdog, "--config", "gw.ini"))
        return started[-1]

    yield start
    for manager in started:
        manager.end()


Managed = Callable[..., Manager]


def test_it_is_ready_when_exports_were_tried_and_not_before(
    directory: Path, managed: Managed
) -> None:
    """Until then the status says what opening is busy with, and asks for more time."""
    plugins = directory / "path" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "late.py").write_text(LATE)
    manager = managed(exports=MEMORY + "[export:late]\nprovider = late\n")
    manager.wait_for(
        "STATUS=opening exports, 1 of 2 done; late (replaying its journal, 3 of 17 records)",
        "EXTEND_TIMEOUT_USEC=",
    )
    # A second look, a second later: still not.
    manager.wait_for("EXTEND_TIMEOUT_USEC=")
    assert "READY=1" not in manager.said
    (directory / "open").touch()
    manager.wait_for("READY=1", "STATUS=serving 2 of 2 exports, no client connected")
    assert "export late is open" in (directory / "output").read_text()
    manager.process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1", "EXTEND_TIMEOUT_USEC=")
    manager.wait_for("late (storing 12.0 MiB)")
    (directory / "close").touch()
    assert manager.process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("abstract", [False, True])
def test_a_reload_and_a_stop_are_told(directory: Path, managed: Managed, abstract: bool) -> None:
    """In both name spaces of sockets."""
    manager = managed(abstract=abstract)
    manager.wait_for("READY=1")
    manager.process.send_signal(signal.SIGHUP)
    lines = manager.wait_for("RELOADING=1")
    (stamp,) = [line for line in lines if line.startswith("MONOTONIC_USEC=")]
    assert stamp.removeprefix("MONOTONIC_USEC=").isdecimal()
    manager.wait_for("READY=1")
    (directory / "gw.ini").write_text("[oops]\n")
    manager.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    assert "the configuration stays as it was" in (directory / "output").read_text()
    manager.process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert manager.process.wait(PATIENCE) == -signal.SIGTERM


def test_the_watchdog_is_fed_until_the_process_hangs(directory: Path, managed: Managed) -> None:
    """A stopped process is silent: that is what it is for."""
    manager = managed(watchdog=1.0)
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    manager.process.send_signal(signal.SIGSTOP)
    manager._socket.settimeout(1.5)
    with pytest.raises(TimeoutError):
        while True:
            manager.wait_for("WATCHDOG=1")
    manager.process.send_signal(signal.SIGCONT)
    manager._socket.settimeout(PATIENCE)
    manager.wait_for("WATCHDOG=1")


UNITS = ("nbdgateway.service", "nbdgateway@.service", "nbdgateway.socket")


@pytest.fixture
def units(directory: Path) -> list[Path]:
    """The packaged units, with a program that is there."""
    program = shutil.which("true")
    assert program is not None
    made = []
    for name in UNITS:
        text = (ROOT / "packaging" / "systemd" / name).read_text()
        made.append(directory / name)
        made[-1].write_text(text.replace("/opt/nbdgateway/bin/twistd", program))
    return made


def test_the_packaged_units_have_no_mistakes(units: list[Path], tool: Tool) -> None:
    """systemd's own judgement."""
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", *map(str, units)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_packaged_unit_is_as_closed_as_can_be(units: list[Path], tool: Tool) -> None:
    """The exposure is below 2 of 10 for each; a setting that is lost would raise it."""
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    for unit in units[:2]:
        done = subprocess.run(
            [*command, "--threshold=18", str(unit)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_user_and_directories_are_made_by_systemds_own_tools(directory: Path, tool: Tool) -> None:
    """Below another root, as a packager would see it."""
    files = ROOT / "packaging" / "systemd"
    place = directory / "usr" / "lib" / "sysusers.d"
    place.mkdir(parents=True)
    (directory / "etc").mkdir()
    shutil.copy(files / "sysusers.conf", place / "nbdgateway.conf")
    command = [tool("systemd-sysusers"), f"--root={directory}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nbdgateway:x:" in (directory / "etc" / "passwd").read_text()
    lines = [line.split() for line in (files / "tmpfiles.conf").read_text().splitlines()]
    made = {line[1] for line in lines if line and line[0] == "d"}
    assert made == {"/etc/nbdgateway", "/var/lib/nbdgateway", "/srv/nbdgateway"}


def test_the_socket_unit_and_the_configuration_in_its_comment_fit(
    directory: Path, managed: Managed
) -> None:
    """The name and the kind of the socket are those that the endpoint asks for."""
    text = (ROOT / "packaging" / "systemd" / "nbdgateway.socket").read_text()
    assert "FileDescriptorName=nbd\n" in text
    assert "endpoint = systemd:UNIX:name=nbd\n" in text
    path = directory / "nbd.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        (directory / "gw.ini").write_text(
            "[listen:vms]\nendpoint = systemd:UNIX:name=nbd\n" + MEMORY
        )
        launcher = (
            "import os, sys\n"
            "os.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='nbd')\n"
            "os.execv(sys.argv[2], sys.argv[2:])\n"
        )
        command = [*TWISTD, "-n", "--pidfile=", "--logfile=log", "nbdgateway", "--config=gw.ini"]
        process = subprocess.Popen(
            [command[0], "-c", launcher, str(listening.fileno()), *command],
            cwd=directory,
            env=environment(),
            pass_fds=[listening.fileno()],
        )
        try:
            log = directory / "log"
            until(lambda: log.exists() and "listening for nbd" in log.read_text(), "the listener")
        finally:
            process.terminate()
            process.wait(PATIENCE)


def allowed(analyze: str, words: list[str]) -> set[str]:
    """System calls that ``SystemCallFilter=`` lets through, as systemd itself expands groups."""

    def members(word: str) -> set[str]:
        if not word.startswith("@"):
            return {word}
        done = subprocess.run(
            [analyze, "syscall-filter", "--no-pager", word],
            check=True,
            capture_output=True,
            text=True,
        )
        found: set[str] = set()
        for line in done.stdout.splitlines()[1:]:
            if line.strip() and not line.strip().startswith("#"):
                found |= members(line.strip())
        return found

    let_through: set[str] = set()
    for word in words:
        if word.startswith("~"):
            let_through -= set[str]().union(*map(members, word[1:].split()))
        else:
            let_through |= set[str]().union(*map(members, word.split()))
    return let_through


def test_the_filter_lets_through_what_serving_disks_takes(directory: Path, tool: Tool) -> None:
    """A file and a volume are written, zeroed, trimmed, flushed and read; a reload, and a stop."""
    strace, analyze, qemu_io = tool("strace"), tool("systemd-analyze"), tool("qemu-io")
    (directory / "gw.ini").write_text(
        LISTEN
        + "[export:f]\nprovider = file\npath = f.raw\nsize = 64M\n"
        + "[export:v]\nprovider = directory\npath = objects\nsize = 64M\n"
    )
    twistd = [*TWISTD, "-n", "--pidfile=", "--logfile=log", "nbdgateway", "--config=gw.ini"]
    traced = subprocess.Popen(
        [strace, "--follow-forks", "--quiet=all", "--output=trace", *twistd],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )
    log, trace = directory / "log", directory / "trace"
    try:
        until(lambda: log.exists() and log.read_text().count(" is open") == 2, "both disks")
        requests = ("write 0 1M", "write -z 1M 1M", "discard 2M 1M", "flush", "write -f 0 4k")
        for export in "fv":
            subprocess.run(
                [
                    *(qemu_io, "-f", "raw", f"nbd+unix:///{export}?socket=nbd.sock"),
                    *(word for one in (*requests, "read 0 1M") for word in ("-c", one)),
                ],
                cwd=directory,
                check=True,
                capture_output=True,
            )
        gateway = int(trace.read_text().split(maxsplit=1)[0])
        os.kill(gateway, signal.SIGHUP)
        until(lambda: "configuration reloaded" in log.read_text(), "the reload")
        os.kill(gateway, signal.SIGTERM)
        traced.wait(PATIENCE)
    finally:
        traced.kill()
        traced.wait()
    calls = set(re.findall(r"^\d+ +([a-z]\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"fdatasync", "epoll_wait", "fallocate"} <= calls
    unit = (ROOT / "packaging" / "systemd" / "nbdgateway.service").read_text()
    filters = re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE)
    assert calls <= allowed(analyze, filters)
