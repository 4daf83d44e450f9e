"""Disks in an emulated store: this gateway's, with and without a journal, and its peers'."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from benchmarks.s3_emulator.process import BUCKET, Store

#: The distribution's, which has libnbd's module and nbdkit's boto3.
SYSTEM_PYTHON = "/usr/bin/python3"
JOBS = Path(__file__).with_name("disk_jobs.py")

#: What the emulator takes: anything.
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "no-secret-at-all"

#: Seconds that a server may take to be there, or to end.
PATIENCE = 60.0


def _environment() -> dict[str, str]:
    """Credentials, and nothing of the operator's own or of this Python's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    # A Python inside another program takes the first python3 that it finds for its own.
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    ours = os.path.realpath(os.path.join(sys.prefix, "bin"))
    return {
        **kept,
        "PATH": os.pathsep.join(one for one in places if os.path.realpath(one) != ours),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Disk:
    """
    One disk in a store; it can be started, killed and started again, and outlives all that.

    Args:
        home: a directory for it alone, short enough for a Unix socket.
        store: where its bytes lie.
        size: bytes.

    Attributes:
        where: for clients: an NBD URI or a path.
    """

    #: For tables.
    name = ""
    #: Whether what was flushed outlives the process, as its documentation has it.
    durable = True

    def __init__(self, home: Path, store: Store, size: int) -> None:
        self.home = home
        self.store = store
        self.size = size
        self.where = ""
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    @classmethod
    def missing(cls) -> str | None:
        """What is not there to run it; None if all is."""
        return None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Serve; the seconds from the start of the process until clients are served."""
        begun = time.perf_counter()
        self._launch()
        return time.perf_counter() - begun

    def _launch(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an administrator does it."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def do(self, job: str, patience: float = 900.0, **arguments: Any) -> dict[str, Any]:
        """
        Have a client do one of `disk_jobs.JOBS`.

        Raises:
            RuntimeError: it failed; the text says how.
        """
        done = subprocess.run(
            self.client_command(job, arguments),
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=patience,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {job}: {done.stderr.strip()[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def client_command(self, job: str, arguments: dict[str, Any]) -> list[str]:
        """The client as a command."""
        return [SYSTEM_PYTHON, str(JOBS), self.where, job, json.dumps(arguments)]

    def resident_bytes(self) -> int:
        """Memory of its process now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def run(self, command: list[str], ready: Callable[[], bool]) -> None:
        """Start the process, and wait until it is ready."""
        errors = self.home / "stderr"
        with errors.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        end = time.monotonic() + PATIENCE
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.name} does not serve: {errors.read_text()[-2000:]}")
            time.sleep(0.01)


def _greets(path: Path) -> bool:
    """Whether an NBD server says hello on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
            return client.recv(1) != b""
        except OSError:
            return False


class Gateway(Disk):
    """This gateway, as it is by default."""

    name = "nbdgateway"
    durability = "store"

    #: More lines for the export's section.
    settings = ""

    #: Folder in the bucket.
    prefix = "disk"

    def _launch(self) -> None:
        # That the store is safe is found out once, not for every disk in it.
        known, state = self.home.parent / "probes.json", self.home / "state"
        if known.exists() and not state.exists():
            state.mkdir()
            shutil.copy(known, state)
        self._serve()
        if (state / "probes.json").exists():
            shutil.copy(state / "probes.json", known)

    def _serve(self) -> None:
        socket_path, log = self.home / "s", self.home / "log"
        config = self.home / "gw.ini"
        config.write_text(
            f"[gateway]\nstate_dir = {self.home}/state\n"
            f"[listen:bench]\nendpoint = unix:{socket_path}\n"
            f"[export:disk]\n{self.section()}"
        )
        log.unlink(missing_ok=True)
        socket_path.unlink(missing_ok=True)
        twistd = "from twisted.scripts.twistd import run; run()"
        self.where = f"nbd+unix:///disk?socket={socket_path}"
        self.run(
            [
                sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", f"--logfile={log}",
                "nbdgateway", f"--config={config}",
            ],
            lambda: log.exists() and "export disk is open" in log.read_text(),
        )  # fmt: skip

    def section(self) -> str:
        """The export's."""
        return (
            f"provider = s3\nbucket = {BUCKET}\nendpoint_url = {self.store.url}\n"
            f"region = us-east-1\nprefix = {self.prefix}\nsize = {self.size}\n"
            f"durability = {self.durability}\n{self.settings}"
        )

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run ``nbdgateway`` against it; its answer."""
        done = subprocess.run(
            [
                sys.executable, "-m", "gateway.cli", "--json",
                f"--config={self.home}/gw.ini", *arguments,
            ],
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"nbdgateway {' '.join(arguments)}: {done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


class JournalGateway(Gateway):
    """This gateway with a journal: a flush waits for the local disk."""

    name = "nbdgateway, journal"
    durability = "journal"
    settings = "journal_size = 256M\n"


class NbdkitS3(Disk):
    """nbdkit's S3 plugin with objects of 64 KiB, the largest that it can serve."""

    name = "nbdkit S3"

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("nbdkit") is None:
            return "nbdkit is not installed"
        done = subprocess.run(
            ["nbdkit", "S3", "--dump-plugin"], env=_environment(), capture_output=True, text=True
        )
        return f"nbdkit has no S3 plugin: {done.stderr.strip()}" if done.returncode else None

    def _launch(self) -> None:
        socket_path = self.home / "s"
        socket_path.unlink(missing_ok=True)
        self.where = f"nbd+unix:///?socket={socket_path}"
        self.run(
            [
                "nbdkit", "-f", "-U", str(socket_path), "S3", f"endpoint-url={self.store.url}",
                f"bucket={BUCKET}", "key=nbdkit", f"size={self.size}", "object-size=64k",
            ],
            lambda: _greets(socket_path),
        )  # fmt: skip


class S3backer(Disk):
    """s3backer on FUSE with blocks of 128 KiB."""

    name = "s3backer 128K"
    durable = False
    block = "128k"

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("s3backer") is None:
            return "s3backer is not installed"
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "s3backer needs /dev/fuse"
        return None

    def _launch(self) -> None:
        keys = self.home / "keys"
        keys.touch(0o600)
        keys.write_text(f"{ACCESS_KEY}:{SECRET_KEY}\n")
        mount = self.home / "mnt"
        mount.mkdir(exist_ok=True)
        self._unmount()
        self.where = str(mount / "file")
        self.run(
            self._command(keys, mount),
            lambda: Path(self.where).exists(),
        )

    def _command(self, keys: Path, mount: Path) -> list[str]:
        return [
            "s3backer", "-f", "--force", f"--accessFile={keys}", "--authVersion=aws2",
            f"--baseURL={self.store.url}/", "--listBlocks", "--blockCacheThreads=20",
            f"--size={self.size}", f"--blockSize={self.block}", BUCKET, str(mount),
        ]  # fmt: skip

    def _end(self, how: signal.Signals) -> None:
        if how is signal.SIGTERM:
            self._unmount(lazy=False)  # it writes what it still has
            if self._process is not None:
                try:
                    self._process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    pass
        super()._end(signal.SIGKILL if how is signal.SIGKILL else signal.SIGTERM)
        self._unmount()

    def _unmount(self, lazy: bool = True) -> None:
        mount = self.home / "mnt"
        tool = ["umount", *(["-l"] if lazy else [])]
        if os.geteuid():
            tool = ["fusermount", "-u", *(["-z"] if lazy else [])]
        subprocess.run([*tool, str(mount)], capture_output=True)


class S3backerSmall(S3backer):
    """The same with its default blocks of 4 KiB."""

    name = "s3backer 4K"
    block = "4k"


@attrs.frozen
class Peer:
    """A kind of disk that rows are run with, or why it is not."""

    kind: type[Disk]
    missing: str | None


def peers() -> list[Peer]:
    """All kinds, ours first."""
    kinds: list[type[Disk]] = [Gateway, JournalGateway, NbdkitS3, S3backer, S3backerSmall]
    return [Peer(kind, kind.missing()) for kind in kinds]
