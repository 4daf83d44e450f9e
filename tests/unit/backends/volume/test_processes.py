"""Whether a process still runs: known where it can be, and guessed nowhere."""

from __future__ import annotations

import os
import subprocess
import sys

import attrs
import pytest

from backends.volume.processes import Process, is_alive, this_process

HERE = this_process()


@pytest.fixture
def child():
    """A process that waits to be ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def holder_of(number, started=None):
    """What a process of this machine says of itself."""
    if started is None:
        with open(f"/proc/{number}/stat") as file:
            started = int(file.read().rpartition(")")[2].split()[19])
    return attrs.evolve(HERE, number=number, started=started).holder(1.0)


def test_it_knows_itself():
    """By all that others on this machine can look up."""
    assert HERE.number == os.getpid()
    assert HERE.host and HERE.boot and HERE.namespace and HERE.started
    assert is_alive(HERE.holder(5.25), HERE) is True
    assert HERE.holder(5.25).since_ms == 5250


def test_the_machines_own_id_is_not_told(tmp_path):
    """machine-id(5) asks for that; without one nothing is told."""
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    told = this_process(etc=tmp_path).machine
    assert len(told) == 32 and told != "0123456789abcdef0123456789abcdef"
    assert this_process(etc=tmp_path / "none").machine == ""


def test_a_process_that_ended_is_dead(child):
    """Also while nobody has waited for it, and when its number is another one's."""
    holder = holder_of(child.pid)
    assert is_alive(holder, HERE) is True
    assert is_alive(attrs.evolve(holder, started=holder.started - 1), HERE) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(holder, HERE) is False  # a zombie
    child.wait()
    assert is_alive(holder, HERE) is False


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"boot": "another"}, False),
        ({"boot": "another", "host": "elsewhere"}, None),
        ({"boot": "another", "machine": "another"}, None),
        ({"boot": "another", "namespace": "another"}, None),
        ({"boot": "another", "machine": ""}, None),
        ({"boot": ""}, None),
        ({"namespace": "pid:[1]"}, None),
        ({"namespace": ""}, None),
        ({"host": "renamed"}, True),
        ({"started": 0}, None),
    ],
)
def test_what_cannot_be_told_is_not(changes, expected):
    """
    A machine that was started anew has none of its old processes. Of other machines and
    containers nothing is known, however much they look like this one.
    """
    here = attrs.evolve(HERE, machine="m" * 32)
    assert is_alive(attrs.evolve(here, **changes).holder(1.0), here) is expected


def test_an_unknown_here_knows_nothing():
    """Where there is no /proc."""
    assert is_alive(HERE.holder(1.0), Process("somewhere")) is None
