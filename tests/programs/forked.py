"""A process that is forked off one which has imported our programs, and how to ask for it."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from weakref import finalize

from tests.programs.environment import ROOT, environment

_GONE = "the process that forks ours has ended"


class Forked:
    """
    A process, as `tests.programs.running.Running` says.

    Args:
        program: a name in `tests.programs.forking.PROGRAMS`.
        arguments: behind its name.
        directory: where it runs.
        environment: all of it.
        output, errors: file descriptors that it gets copies of.
    """

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        output: int,
        errors: int,
    ) -> None:
        self.args = [program, *arguments]
        self.returncode: int | None = None
        self._lock = Lock()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far, open(os.devnull, "rb") as nothing:
            ends = [far.fileno(), nothing.fileno(), output, errors]
            request = json.dumps([self.args, str(directory), dict(environment)])
            socket.send_fds(_forking(), [request.encode()], ends)
            far.close()
            number, handles, _, _ = socket.recv_fds(near, 32, 1)
            if not number:
                raise RuntimeError(_GONE)
            self.pid = int(number)
            # It means this process, and no later one of the same number.
            (self._handle,) = handles
            #: Its status comes here.
            self._line = near.detach()
        finalize(self, _close, self._handle, self._line)

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and _is_readable(self._line, 0):
                status = os.read(self._line, 32)
                if not status:
                    raise RuntimeError(_GONE)
                self.returncode = int(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        _is_readable(self._line, timeout)
        status = self.poll()
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _forking() -> socket.socket:
    """The line to `tests.programs.forking`, which ends with this process."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with far:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs.forking", str(far.fileno())],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            pass_fds=[far.fileno()],
        )
    atexit.register(_end, near, process)
    return near


def _end(line: socket.socket, process: subprocess.Popen[bytes]) -> None:
    line.close()
    process.wait()


def _is_readable(descriptor: int, timeout: float | None) -> bool:
    """Within so many seconds; None is for ever."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else 1000 * timeout))


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
