"""``twistd nbdgateway`` as a process."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.service.twistd import PATIENCE, TWISTD, Twistd, environment, run, until

pytestmark = pytest.mark.executes

Start = Callable[..., Twistd]
Tool = Callable[[str], str]

MEMORY = "[export:{name}]\nprovider = memory\nsize = 1M\n"
UNIX = "[listen:u]\nendpoint = unix:nbd.sock\n"


def greets(path: Path) -> bool:
    """Whether an NBD server answers on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
            return client.recv(8) == b"NBDMAGIC"
        except OSError:
            return False


def configure(directory: Path, *names: str, listen: str = UNIX) -> None:
    """Write ``gw.ini`` with memory exports."""
    text = listen + "".join(MEMORY.format(name=name) for name in names)
    (directory / "gw.ini").write_text(text)


def test_without_a_configuration_a_disk_is_made_and_its_uris_are_printed(
    directory: Path, start: Start, free_port: int
) -> None:
    """One command from nothing to a disk and a volume."""
    gateway = start("--port", str(free_port), "--http-port", "0")
    gateway.wait_for("export disk is open: 10737418240 bytes")
    gateway.wait_for("export volume is open: 10737418240 bytes")
    text = gateway.text()
    assert f"serving nbd://127.0.0.1:{free_port}/disk" in text
    socket_path = directory / "nbdgateway-data" / "nbd.sock"
    assert f"serving nbd+unix:///disk?socket={socket_path}" in text
    assert f"serving nbd+unix:///volume?socket={socket_path}" in text
    assert greets(socket_path)
    disk = (directory / "nbdgateway-data" / "disk.raw").stat()
    assert disk.st_size == 10 << 30
    assert disk.st_blocks * 512 < 1 << 20


def test_the_embedded_disk_is_the_same_after_a_restart(
    directory: Path, start: Start, free_port: int
) -> None:
    """What was tried is still there tomorrow."""
    start("--port", str(free_port), "--http-port", "0").wait_for("export disk is open")
    # The kernel's view of the file, not ours, says that it was kept.
    first = (directory / "nbdgateway-data" / "disk.raw").stat().st_ino
    again = start("--port", "0", "--data-dir", "elsewhere")
    again.wait_for("export disk is open")
    again.stop()
    assert (directory / "nbdgateway-data" / "disk.raw").stat().st_ino == first
    assert (directory / "elsewhere" / "disk.raw").exists()
    assert len(list((directory / "elsewhere" / "objects" / "volume" / "sb").iterdir())) > 0


def test_sigterm_ends_it_at_once_and_removes_the_socket(directory: Path, start: Start) -> None:
    """libnbd's tools and systemd wait for the exit (U4, U7)."""
    configure(directory, "a")
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export a is open")
    assert stat.S_IMODE((directory / "nbd.sock").stat().st_mode) == 0o660
    assert gateway.stop() < 5
    assert "every export is closed" in gateway.text()
    assert not (directory / "nbd.sock").exists()
    assert "Traceback" not in gateway.text()


def test_a_client_that_stays_cannot_hold_up_the_exit(directory: Path, start: Start) -> None:
    """Half-open connections are ended."""
    configure(directory, "a")
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export a is open")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / "nbd.sock"))
        assert client.recv(18, socket.MSG_WAITALL).startswith(b"NBDMAGIC")
        assert gateway.stop() < 10


def test_check_prints_what_would_be_served_and_exits_0(directory: Path) -> None:
    """Nothing is opened."""
    configure(directory, "a")
    done = run(directory, "nbdgateway", "--config", "gw.ini", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "export a: memory" in done.stdout
    assert os.listdir(directory) == ["gw.ini"]


@pytest.mark.parametrize("more", [["--check"], []])
def test_every_mistake_is_on_standard_error_and_the_status_is_1(
    directory: Path, more: list[str]
) -> None:
    """With --check and without it; nothing was started."""
    configure(directory, "a", listen="[listen:u]\nendpoint = tcp:10809\n[oops]\n")
    done = run(directory, "--nodaemon", "nbdgateway", "--config", "gw.ini", *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert os.listdir(directory) == ["gw.ini"]


def test_a_port_that_is_taken_is_one_line_and_status_1(directory: Path) -> None:
    """No hanging process, no disk touched, no pid file left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(directory, "--nodaemon", "nbdgateway", "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith("nbdgateway: [listen:tcp] cannot listen on tcp:")
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(directory) == ["nbdgateway-data"]
    assert os.listdir(directory / "nbdgateway-data") == []


def test_sighup_adds_and_removes_exports_and_listeners(directory: Path, start: Start) -> None:
    """The log has the difference; a file with mistakes changes nothing."""
    configure(directory, "a", "b")
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export b is open")

    configure(directory, "a", "c", listen=UNIX + "[listen:v]\nendpoint = unix:second.sock\n")
    gateway.hang_up()
    gateway.wait_for("configuration reloaded")
    text = gateway.text()
    for line in ("- export b", "[+] export c", "[+] listener v"):
        gateway.wait_for(f"reload: {line}")
    assert "export a," not in text
    assert greets(directory / "second.sock")

    configure(directory, "a", "c", listen=UNIX + "[oops]\n")
    gateway.hang_up()
    gateway.wait_for("the configuration stays as it was")
    assert greets(directory / "second.sock")

    configure(directory, "a")
    gateway.hang_up()
    gateway.wait_for("configuration reloaded", count=2)
    assert not (directory / "second.sock").exists()
    assert greets(directory / "nbd.sock")


def test_a_key_file_that_never_answers_holds_up_nobody(directory: Path, start: Start) -> None:
    """Neither the clients nor the stop: it is read in a thread that nobody waits for."""
    make_certificates(directory)
    configure(directory, "a")
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export a is open")
    (directory / "server-key.pem").unlink()
    os.mkfifo(directory / "server-key.pem")
    tls = "tls = allow\ntls_certificate = server-cert.pem\ntls_key = server-key.pem\n"
    configure(directory, "a", listen=UNIX + tls)
    gateway.hang_up()
    gateway.wait_for("reading the configuration again")
    assert greets(directory / "nbd.sock")
    gateway.stop()
    assert gateway.process.returncode == -signal.SIGTERM
    assert "every export is closed" in gateway.text()


HANGING = """
from threading import Event
import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer
from gateway.info import ExportInfo
from gateway.interfaces import IStorageProvider

@attrs.frozen
class Settings:
    pass

class Export:
    info = ExportInfo(4096)
    def __init__(self, resources):
        self.resources = resources
    def close(self):
        return self.resources.call_in_thread(Event().wait)

@implementer(IPlugin, IStorageProvider)
class Hanging:
    name = "hanging"
    settings = Settings
    def problems(self, settings, read_only):
        return []
    def identity(self, settings):
        return None
    def describe(self, settings):
        return "on a disk that hangs"
    def open_export(self, name, settings, read_only, resources):
        return Export(resources)

hanging = Hanging()
"""


@pytest.mark.parametrize("patient", [True, False])
def test_a_disk_that_hangs_cannot_keep_the_process(
    directory: Path, start: Start, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """Not past the bound, nor after a second signal; its thread is left behind."""
    plugins = directory / "path" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "hanging.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(directory / "path"))
    timeout = 0 if patient else 600
    (directory / "gw.ini").write_text(
        f"[gateway]\nshutdown_timeout = {timeout}\n{UNIX}"
        f"[export:h]\nprovider = hanging\n{MEMORY.format(name='m')}"
    )
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export m is open")
    gateway.process.terminate()
    gateway.wait_for("export m is closed")
    gateway.hang_up()
    if not patient:
        gateway.process.terminate()
    gateway.process.wait(PATIENCE)
    assert gateway.process.returncode == 1
    assert "export h could not be flushed" in gateway.text()
    assert "export m could not be flushed" not in gateway.text()
    assert ("once more" in gateway.text()) is not patient
    assert "Traceback" not in gateway.text()


def test_a_listener_is_renamed_and_widened_by_sighup(
    directory: Path, start: Start, free_port: int
) -> None:
    """The kernel refuses the wider port while the narrow one is open."""
    inner = f"[listen:u]\nendpoint = tcp:{free_port}:interface=127.0.0.1\n"
    wider = f"[listen:v]\nendpoint = tcp:{free_port}\nallow_insecure = yes\n"
    configure(directory, "a", listen=inner)
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export a is open")
    with socket.create_connection(("127.0.0.1", free_port)) as before:
        assert before.recv(8) == b"NBDMAGIC"
        for count, listen in enumerate((wider, inner, inner.replace("u]", "w]")), 1):
            configure(directory, "a", listen=listen)
            gateway.hang_up()
            gateway.wait_for("configuration reloaded", count=count)
            with socket.create_connection(("127.0.0.1", free_port)) as client:
                assert client.recv(8, socket.MSG_WAITALL) == b"NBDMAGIC"
        gateway.wait_for("reload: ~ listener w, was u")
        before.setblocking(False)
        with pytest.raises(BlockingIOError):
            while before.recv(64):
                pass


def test_a_daemon_has_a_pid_file_and_ends_on_sigterm(directory: Path) -> None:
    """Exports are opened and threads are started behind the fork."""
    listen = "[listen:u]\nendpoint = unix:nbd.sock\n"
    disk = "[export:d]\nprovider = file\npath = d.raw\nsize = 1M\n"
    (directory / "gw.ini").write_text(listen + disk)
    done = run(
        directory,
        "--pidfile=gw.pid",
        "--logfile=gw.log",
        "--rundir=/",
        "nbdgateway",
        "--config=gw.ini",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((directory / "gw.pid").read_text())
    try:
        until(lambda: "export d is open" in (directory / "gw.log").read_text(), "the disk")
        assert greets(directory / "nbd.sock")
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (directory / "gw.pid").exists(), "the exit")
    assert not (directory / "nbd.sock").exists()
    assert "every export is closed" in (directory / "gw.log").read_text()


def test_a_daemon_that_cannot_start_says_so_before_it_forks_away(directory: Path) -> None:
    """The parent's exit status is 1."""
    (directory / "nbd.sock").write_text("not a socket")
    configure(directory, "a")
    done = run(
        directory, "--pidfile=gw.pid", "--logfile=gw.log", "nbdgateway", "--config", "gw.ini"
    )
    assert done.returncode == 1
    assert "CannotListen" in done.stderr
    assert "is not a socket" in (directory / "gw.log").read_text()
    until(lambda: not (directory / "gw.pid").exists(), "the pid file to go")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_files_and_sockets_belong_to_the_user_it_becomes(directory: Path, start: Start) -> None:
    """Everything is opened after privileges are given up."""
    os.chmod(directory, 0o777)
    disk = "[export:d]\nprovider = file\npath = d.raw\nsize = 1M\n"
    (directory / "gw.ini").write_text(UNIX + disk)
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [
                *TWISTD,
                "--nodaemon",
                "--pidfile=",
                "--uid=65534",
                "--gid=65534",
                "nbdgateway",
                "--config=gw.ini",
            ],
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        log = directory / "output"
        until(lambda: "export d is open" in log.read_text() or process.poll() is not None, "it")
        assert (directory / "d.raw").stat().st_uid == 65534
        assert (directory / "nbd.sock").stat().st_uid == 65534
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert not (directory / "nbd.sock").exists()


def activate(directory: Path, listening: socket.socket, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a gateway the way systemd and libnbd do: one socket, at descriptor 3."""
    launcher = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    inherited = str(listening.fileno())
    command = [*TWISTD, "--nodaemon", "--pidfile=", "--logfile=log", "nbdgateway", *arguments]
    return subprocess.Popen(
        [command[0], "-c", launcher, inherited, *command],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[listening.fileno()],
    )


def test_a_socket_handed_over_is_served_and_left_in_place(directory: Path) -> None:
    """Whoever made the socket removes it, and chose its permissions (U5, U6)."""
    path = directory / "handed-over.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        os.chmod(path, 0o600)
        listening.listen()
        process = activate(directory, listening)
        try:
            until(lambda: greets(path) or process.poll() is not None, "an answer")
            assert process.poll() is None
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_handed_over_excludes_addresses_in_the_file(directory: Path) -> None:
    """Status 1, and the file's line (U6)."""
    configure(directory, "a")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = activate(directory, listening, "--config=gw.ini")
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert b"gw.ini:2: [listen:u] endpoint" in errors
    assert b"LISTEN_FDS" in errors


def test_nbdinfo_starts_it_asks_it_and_ends_it(directory: Path, tool: Tool) -> None:
    """``nbdinfo -- [ twistd -n nbdgateway ]`` (U7)."""
    nbdinfo = tool("nbdinfo")
    gateway = [*TWISTD, "--nodaemon", "--pidfile=", "--logfile=log", "nbdgateway"]
    done = subprocess.run(
        [nbdinfo, "--size", "--", "[", *gateway, "]"],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, f"{10 << 30}\n"), done.stderr
    until(lambda: "every export is closed" in (directory / "log").read_text(), "a clean exit")
