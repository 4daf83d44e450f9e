"""Who this process is, and whether one that said so of itself still runs."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
from functools import lru_cache
from pathlib import Path

import attrs

from backends.volume.superblock import Holder


@attrs.frozen
class Process:
    """
    A process, so that another one can tell later whether it is still there.

    Empty texts stand for what is not known, and then nothing is concluded from them.

    Attributes:
        host: name of the machine.
        number: the process's, in its ``namespace``.
        machine: of the machine, the same after it was started anew; not its secret id itself.
        boot: of this run of the machine.
        namespace: in which ``number`` counts: containers have their own.
        started: clock ticks from the machine's start to the process's.
    """

    host: str
    number: int = 0
    machine: str = ""
    boot: str = ""
    namespace: str = ""
    started: int = 0

    def holder(self, wall: float) -> Holder:
        """
        What a superblock says of it.

        Args:
            wall: since when it holds the volume, in seconds since 1970.
        """
        return Holder(
            self.host,
            self.number,
            int(wall * 1000),
            self.machine,
            self.boot,
            self.namespace,
            self.started,
        )


def this_process(proc: Path = Path("/proc"), etc: Path = Path("/etc")) -> Process:
    """
    The process that asks; a daemon asks once it has become one.

    Args:
        proc, etc: where the machine tells of itself.
    """
    number = os.getpid()
    try:
        namespace = os.readlink(proc / "self" / "ns" / "pid")
    except OSError:
        namespace = ""
    return Process(
        socket.gethostname(),
        number,
        _machine(etc),
        _boot(proc),
        namespace,
        _started(number, proc) or 0,
    )


def is_alive(holder: Holder, here: Process, proc: Path = Path("/proc")) -> bool | None:
    """
    Whether the process that holds a volume runs.

    Args:
        here: who asks.

    Returns:
        None where that cannot be told from here: another machine, or another
        container of this one.
    """
    if holder.boot and holder.boot == here.boot:
        if not holder.namespace or holder.namespace != here.namespace or not holder.started:
            return None
        return _started(holder.process, proc) == holder.started
    # Names alone are given twice; a copy of a machine has its id, under another name. Copies of
    # a container may have both, but not the namespace that every machine begins with.
    theirs = (holder.machine, holder.host, holder.namespace)
    if here.boot and all(theirs) and theirs == (here.machine, here.host, here.namespace):
        return False if holder.boot else None
    return None


@lru_cache(maxsize=8)
def _machine(etc: Path) -> str:
    try:
        secret = (etc / "machine-id").read_bytes().strip()
    except OSError:
        return ""
    # machine-id(5) asks not to show the id itself to others.
    return hmac.digest(secret, b"nbdgateway volume", hashlib.sha256).hex()[:32] if secret else ""


def _boot(proc: Path) -> str:
    try:
        return (proc / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    except OSError:
        return ""


def _started(number: int, proc: Path) -> int | None:
    """When a process was started; None if there is none of that number, or a dead one."""
    try:
        text = (proc / str(number) / "stat").read_text()
    except OSError:
        return None
    # The second field is a name in parentheses, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
