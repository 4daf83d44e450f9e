"""What is forked is as what is executed: the tests may start our programs in either way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.programs import running
from tests.programs.environment import environment
from tests.programs.forked import Forked
from tests.programs.running import PATIENCE, Running, run

#: Tells what a process has around it, and ends.
_FACTS = """
import gc, json, os, resource, signal, sys, threading, time
print(json.dumps({
    "arguments": sys.argv[1:],
    "directory": os.getcwd(),
    "environment": dict(os.environ),
    "group": os.getpgrp(),
    "session": os.getsid(0),
    "priority": os.nice(0),
    "mask": oct(os.umask(0)),
    "limits": [resource.getrlimit(one) for one in range(10)],
    "files": {number: os.fstat(int(number)).st_mode for number in os.listdir("/proc/self/fd")
              if os.path.exists(f"/proc/self/fd/{number}")},
    "input": sys.stdin.read(),
    "streams": [(one.encoding, one.errors, one.fileno()) for one in (sys.stdout, sys.stderr)],
    "signals": {str(one): str(signal.getsignal(one)) for one in signal.valid_signals()},
    "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "threads": [one.name for one in threading.enumerate()],
    "zone": time.tzname,
    "flags": str(sys.flags),
    "collected": gc.isenabled(),
    "reactor": "twisted.internet.reactor" in sys.modules,
}))
sys.stderr.write("that is all\\n")
sys.exit(3)
"""

#: Waits for a signal.
_WAITS = "import time; print('here', flush=True); time.sleep(600)"


def twistd(directory: Path, text: str) -> tuple[str, ...]:
    """The words that make a process do what a text says."""
    (directory / "application.tac").write_text(text)
    return ("twistd", "--nodaemon", "--pidfile=", "--python=application.tac")


@pytest.fixture(autouse=True)
def not_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here both are tried, whatever the variable says."""
    monkeypatch.setattr(running, "_everywhere", False)


@pytest.fixture(params=[False, True], ids=["forked", "executed"])
def either(request: pytest.FixtureRequest) -> None:
    """In each of the ways; with the next test it is the usual one again."""
    running.execute(request.param)


@pytest.fixture
def waiting(tmp_path: Path, either: None) -> Iterator[Callable[[], Running]]:
    """Starts processes that wait."""
    started: list[Running] = []

    def start_one() -> Running:
        words = twistd(tmp_path, _WAITS)
        with (tmp_path / "output").open("w+b") as output:
            started.append(running.start(*words, directory=tmp_path, output=output))
            while not (tmp_path / "output").read_text():
                assert started[-1].poll() is None
        return started[-1]

    yield start_one
    for one in started:
        one.kill()
        one.wait()


def facts(directory: Path) -> dict[str, Any]:
    done = run(*twistd(directory, _FACTS), directory=directory)
    assert (done.returncode, done.stderr) == (3, "that is all\n")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_forked_process_has_what_an_executed_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No open file, signal, thread or variable more or less."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    running.execute(False)
    forked = facts(tmp_path)
    running.execute(True)
    assert forked == facts(tmp_path)


def test_processes_are_forked_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    """So that the test above compares what is different."""
    made = []
    for executes in (False, True):
        running.execute(executes)
        with tempfile.TemporaryFile() as output:
            words = ("nbdgateway", "--version")
            process = running.start(*words, directory=tmp_path, output=output)
            made.append(type(process))
            assert process.wait(PATIENCE) == 0
    assert made == [Forked, subprocess.Popen]


def test_who_looks_for_modules_elsewhere_is_executed(tmp_path: Path) -> None:
    """What was imported was imported from the usual places."""
    running.execute(False)
    (tmp_path / "elsewhere.py").write_text("here = True")
    words = twistd(tmp_path, "import elsewhere; print('found'); raise SystemExit(0)")
    path = os.pathsep.join([environment()["PYTHONPATH"], str(tmp_path)])
    with (tmp_path / "output").open("wb") as output:
        process = running.start(
            *words, directory=tmp_path, output=output, variables={"PYTHONPATH": path}
        )
        assert process.wait(PATIENCE) == 0
    assert (tmp_path / "output").read_text() == "found\n"


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    "words, status, said",
    [
        (("nbdgateway", "--version"), 0, "nbdgateway "),
        (("nbdgateway", "nothing"), 2, "invalid choice"),
        (("twistd", "nbdgateway", "--config", "none.ini"), 1, "none.ini"),
    ],
)
def test_it_ends_as_the_program_ends(
    tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    """With its status, and all that it had to say."""
    done = run(*words, directory=tmp_path)
    assert done.returncode == status, done
    assert said in done.stdout + done.stderr


@pytest.mark.usefixtures("either")
def test_an_error_is_told_and_is_no_success(tmp_path: Path) -> None:
    """As Python tells it."""
    done = run(*twistd(tmp_path, "raise ValueError('such')"), directory=tmp_path)
    assert done.returncode == 1
    assert "ValueError: such" in done.stdout + done.stderr


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_it_dies_of_a_signal(waiting: Callable[[], Running], sent: signal.Signals) -> None:
    """Its status says of which, and no other process is hit."""
    process, other = waiting(), waiting()
    assert process.poll() is None
    os.kill(process.pid, sent)
    assert process.wait(PATIENCE) == process.poll() == process.returncode == -sent
    assert other.poll() is None
    process.send_signal(sent)  # no effect


def test_who_waits_is_told_when_it_takes_too_long(waiting: Callable[[], Running]) -> None:
    """And it goes on."""
    process = waiting()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None


def test_one_may_wait_while_another_kills(waiting: Callable[[], Running]) -> None:
    """Each of them learns how it ended."""
    process = waiting()
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(process.wait(PATIENCE))) for _ in range(3)]
    for thread in threads:
        thread.start()
    process.kill()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [-signal.SIGKILL] * 3
