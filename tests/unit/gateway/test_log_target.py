"""Where the log goes under twistd, and in which form."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application
from twisted.logger import ILogObserver, LogLevel
from twisted.python.logfile import LogFile

from gateway.log_lines import as_json, as_text
from gateway.log_target import DEFAULT_FILE, form, install, observer


class Terminal(io.StringIO):
    """A stream with somebody in front of it."""

    def isatty(self) -> bool:
        return True


EVENT = {"log_format": "hello", "log_level": LogLevel.info, "log_time": 0.0}


@pytest.fixture(autouse=True)
def _signals() -> Any:
    former = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, former)


def test_auto_is_text_on_a_terminal_and_json_elsewhere(tmp_path: Path) -> None:
    """A log file of twistd's is no terminal either."""
    assert form("auto", Terminal(), {}) is as_text
    assert form("auto", io.StringIO(), {}) is as_json
    file = LogFile.fromFullPath(str(tmp_path / "log"))
    assert form("auto", file, {}) is as_json
    file.close()


def test_the_operator_may_choose() -> None:
    """Against what would be guessed."""
    assert form("json", Terminal(), {}) is as_json
    assert form("text", io.StringIO(), {}) is as_text


def test_the_journal_gets_priorities_and_notes_the_time_itself(tmp_path: Path) -> None:
    """It is known by the device and inode of its stream."""
    with (tmp_path / "stream").open("w") as stream:
        there = os.fstat(stream.fileno())
        journal = {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
        assert form("text", stream, journal)(EVENT) == "<6>info     hello\n"
        assert form("auto", stream, journal)(EVENT).startswith('<6>{"time"')
        # A child that writes elsewhere has the variable as well.
        assert form("text", stream, {"JOURNAL_STREAM": "1:2"}) is as_text


@pytest.mark.parametrize("options", [{"logger": object()}, {"syslog": 1}])
def test_what_twistd_was_told_is_left_to_it(options: dict[str, Any]) -> None:
    """``--logger`` and ``--syslog`` go before ``log_format``."""
    application = Application("gateway")
    install(application, {"logger": None, "nodaemon": 1, **options}, "json")
    assert application.getComponent(ILogObserver, None) is None


def test_the_application_brings_ours(tmp_path: Path) -> None:
    """A file by the name that twistd was told, in JSON."""
    application = Application("gateway")
    path = tmp_path / "gw.log"
    install(application, {"logger": None, "logfile": str(path), "nodaemon": 0}, "auto")
    ours = application.getComponent(ILogObserver)
    ours(EVENT)
    assert path.read_text() == as_json(EVENT)


def test_sigusr1_rotates_the_file_as_under_plain_twistd(tmp_path: Path) -> None:
    """Unless somebody else has use for the signal."""
    observer({"logfile": str(tmp_path / "gw.log")}, "auto")
    assert callable(signal.getsignal(signal.SIGUSR1))
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    observer({"logfile": str(tmp_path / "gw.log")}, "auto")
    assert signal.getsignal(signal.SIGUSR1) is signal.default_int_handler


def test_a_daemon_without_a_name_writes_twistds_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the directory that it was started in."""
    monkeypatch.chdir(tmp_path)
    observer({"logfile": None, "nodaemon": 0}, "auto")
    assert (tmp_path / DEFAULT_FILE).exists()


def test_a_daemon_has_no_standard_output() -> None:
    """twistd's own words."""
    with pytest.raises(SystemExit, match="Daemons cannot log to stdout"):
        observer({"logfile": "-", "nodaemon": 0}, "auto")


@pytest.mark.parametrize("name", [None, "-"])
def test_in_the_foreground_it_is_standard_output(
    name: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``-n``."""
    ours = observer({"logfile": name, "nodaemon": 1}, "auto")
    ours(EVENT)
    assert capsys.readouterr().out == as_json(EVENT)
    assert sys.stdout is not None
