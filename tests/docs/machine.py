"""
A machine of its own for a page: its own loopback interface, ports, hosts and directories.

Pages can so be carried out letter by letter, with ports, host names and paths as they stand
there, beside everything else that runs. It takes namespaces of the Linux kernel, for root or
for users that may make them; what a page writes lies in memory or below a directory of the test.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.service.twistd import ROOT

#: Seconds for one block, and for what it serves to be there.
PATIENCE = 120.0

#: Directories that pages write to, with nothing in them at first.
_OWN = (
    "/srv",
    "/etc/pki",
    "/etc/nbdgateway",
    "/var/lib/nbdgateway",
    "/var/lib/prometheus",
    "/run/nbdgateway",
)

#: What every block begins with: stop at the first failure, as a reader would.
_FIRST = "set -e\nshopt -s expand_aliases\n"

_SETUP = """
ip link set lo up
for directory in {own}; do
    mount -t tmpfs none "$directory"
done
mount --bind {hosts} /etc/hosts
exec sleep infinity
"""


def usable() -> bool:
    """Whether such machines can be made here."""
    probe = ["unshare", *_namespaces(), "mount", "-t", "tmpfs", "none", "/srv"]
    try:
        for path in _OWN:
            Path(path).mkdir(parents=True, exist_ok=True)
        return subprocess.run(probe, capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False


def _namespaces() -> list[str]:
    flags = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return flags if os.geteuid() == 0 else ["--map-root-user", *flags]


class Failed(AssertionError):
    """A command of a page did not do what the page says."""


class Machine:
    """
    Runs what a page says.

    Args:
        directory: of the reader.
        hosts: names, of the machine itself.
        environment: of the reader's shell.

    Attributes:
        directory: as given.
    """

    def __init__(
        self, directory: Path, hosts: tuple[str, ...] = (), environment: Mapping[str, str] = {}
    ) -> None:
        self.directory = directory
        self._beside: list[subprocess.Popen[bytes]] = []
        self._serving: subprocess.Popen[bytes] | None = None
        self._log = directory.parent / "served.log"
        names = directory.parent / "hosts"
        names.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *hosts)))
        script = _SETUP.format(own=" ".join(_OWN), hosts=names)
        self._init = subprocess.Popen(
            ["unshare", *_namespaces(), "sh", "-ec", script], stdin=subprocess.DEVNULL
        )
        binaries = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            "HOME": str(directory),
            "PATH": os.pathsep.join([str(binaries), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples/provider")]),
            "VIRTUAL": sys.prefix,
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self._kept = ""
        self._enter = self._when_up()

    def begin_store(self, buckets: tuple[str, ...]) -> None:
        """Have S3 at http://127.0.0.1:5000, for as long as the machine is there."""
        self.begin(f"python3 -m tests.docs.store {shlex.join(buckets)}")
        self.run("until curl -s -o /dev/null http://127.0.0.1:5000; do sleep 0.1; done")

    def begin(self, commands: str) -> None:
        """Have a shell run commands that end when the machine does."""
        with (self.directory.parent / "beside.log").open("ab") as log:
            self._beside.append(
                subprocess.Popen(
                    [*self._enter, "bash", "-c", self._script(commands)],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def run(self, commands: str, fails: bool = False) -> str:
        """
        Have a shell run commands, and answer with what they print.

        Raises:
            Failed: they fail, or do not although they should.
        """
        before = len(self.served())
        # Not a pipe: what goes on in the background would keep it open.
        with tempfile.TemporaryFile() as printed:
            done = subprocess.run(
                [*self._enter, "bash", "-c", self._script(commands)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
            )
            printed.seek(0)
            output = printed.read().decode(errors="replace")
        if bool(done.returncode) is not fails:
            raise Failed(f"exit status {done.returncode} of\n{commands}\n{output}\n{self.served()}")
        if "kill -HUP" in commands:
            # A signal is sent and not waited for; readers are slower than the next block here.
            self._wait_for("configuration reloaded|configuration stays as it was", before)
        for line in commands.splitlines():
            if line.startswith(("alias ", "export ")):
                self._kept += line + "\n"
        return output

    def serve(self, commands: str) -> None:
        """Have a shell run commands of which the last one serves, until it does."""
        self.stop()
        before = len(self.served())
        with self._log.open("ab") as log:
            self._serving = subprocess.Popen(
                [*self._enter, "bash", "-c", self._script(commands)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_for("is open|is unavailable", before)

    def stop(self) -> None:
        """End what is served, as Ctrl-C does."""
        if self._serving is not None:
            serving, self._serving = self._serving, None
            if serving.poll() is None:
                os.killpg(serving.pid, signal.SIGINT)
            serving.wait(PATIENCE)

    def served(self) -> str:
        """What was printed by what is served, and was before."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def write(self, path: str, text: str, add: bool = False) -> None:
        """Write a file, or add to it."""
        mode = ">>" if add else ">"
        subprocess.run(
            [*self._enter, "bash", "-c", self._script(f'cat {mode} "$0"'), path],
            input=text.encode(),
            check=True,
        )

    def close(self) -> None:
        """End all that runs there."""
        try:
            self.stop()
        finally:
            self._init.kill()
            self._init.wait()
            for one in self._beside:
                one.wait(PATIENCE)

    def _script(self, commands: str) -> str:
        # Who enters a mount namespace begins at its root.
        return f"{_FIRST}cd {shlex.quote(str(self.directory))}\n{self._kept}{commands}"

    def _wait_for(self, pattern: str, before: int) -> None:
        """Wait until what is served has printed it; ``before`` is how much it had printed."""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.served()[before:]):
            assert self._serving is not None
            if self._serving.poll() is not None or time.monotonic() > end:
                raise Failed(f"{pattern!r} was not printed:\n{self.served()[before:]}")
            time.sleep(0.05)

    def _when_up(self) -> list[str]:
        """How to enter it, once it is there."""
        end = time.monotonic() + PATIENCE
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        while time.monotonic() < end:
            try:
                inside = children.read_text().split()
                if inside and "sleep" in Path(f"/proc/{inside[0]}/comm").read_text():
                    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
                    return ["nsenter", "-t", inside[0], *user, "--net", "--mount", "--pid"]
            except OSError:
                pass
            assert self._init.poll() is None, "the machine could not be set up"
            time.sleep(0.02)
        raise Failed("the machine was not set up in time")
