"""The log of a real gateway, under each of twistd's options."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.service.twistd import PATIENCE, TWISTD, environment, run, until

CONFIGURATION = (
    "[gateway]\n{more}[listen:u]\nendpoint = unix:nbd.sock\n"
    "[export:m]\nprovider = memory\nsize = 1M\n"
)


def configure(directory: Path, more: str = "") -> None:
    (directory / "gw.ini").write_text(CONFIGURATION.format(more=more))


def serve_and_stop(directory: Path, *options: str, until_there: Path | None = None) -> bytes:
    """
    Run a gateway in the foreground until its export is open.

    Returns:
        Its standard output.
    """
    output = directory / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*TWISTD, "--nodaemon", "--pidfile=", *options, "nbdgateway", "--config=gw.ini"],
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    there = until_there or output
    try:
        until(lambda: there.exists() and "export m is open" in there.read_text(), "the export")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    return output.read_bytes()


def objects(text: str) -> list[dict[str, Any]]:
    """Each line as JSON; fails on anything else."""
    return [json.loads(line) for line in text.splitlines()]


def test_where_no_terminal_is_each_line_is_one_object(directory: Path) -> None:
    """From the first line to the last, with no byte between them."""
    configure(directory)
    lines = objects(serve_and_stop(directory).decode())
    assert all({"time", "level", "event", "logger"} <= line.keys() for line in lines)
    (opened,) = [line for line in lines if line["event"].startswith("export m is open")]
    assert (opened["export"], opened["size"], opened["level"]) == ("m", 1 << 20, "info")
    assert lines[-1]["event"] == "Server Shut Down."


def test_the_start_is_told_with_versions_and_what_is_served(directory: Path) -> None:
    """What support asks for first."""
    configure(directory)
    lines = objects(serve_and_stop(directory).decode())
    (start,) = [line for line in lines if "boto3" in line]
    assert {"nbdgateway", "twisted", "boto3", "openssl", "python"} <= start.keys()
    assert start["configuration"].endswith("gw.ini")
    events = [line["event"] for line in lines]
    assert any(event.startswith("export m: memory") for event in events)
    assert any(event.startswith("listen u: nbd on unix:nbd.sock") for event in events)


def test_on_a_terminal_it_is_for_people(directory: Path) -> None:
    """And the operator may choose either form."""
    configure(directory)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TWISTD, "--nodaemon", "--pidfile=", "nbdgateway", "--config=gw.ini"],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = ""
    try:
        while "export m is open" not in text:
            text += os.read(ours, 4096).decode()
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(ours)
    assert " info     export m" in text
    assert "{" not in text.splitlines()[0]

    configure(directory, "log_format = text\n")
    assert " info     export m is open" in serve_and_stop(directory).decode()


def test_a_log_file_is_written_in_the_same_form_and_rotated_by_a_signal(directory: Path) -> None:
    """As under any other program of twistd's."""
    configure(directory)
    log = directory / "gw.log"
    process = subprocess.Popen(
        [
            *TWISTD,
            "--nodaemon",
            "--pidfile=",
            "--logfile=gw.log",
            "nbdgateway",
            "--config=gw.ini",
        ],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: log.exists() and "export m is open" in log.read_text(), "the export")
        process.send_signal(signal.SIGUSR1)
        until((directory / "gw.log.1").exists, "the rotation")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    before = objects((directory / "gw.log.1").read_text())
    after = objects(log.read_text())
    assert before[0]["event"].startswith("twistd ")
    assert after[-1]["event"] == "Server Shut Down."


def test_a_daemon_writes_its_file_too(directory: Path) -> None:
    """By an absolute or a relative name, though it changes its directory."""
    configure(directory)
    done = run(
        directory,
        "--pidfile=gw.pid",
        "--logfile=gw.log",
        "--rundir=/",
        "nbdgateway",
        f"--config={directory}/gw.ini",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = directory / "gw.log"
    pid = int((directory / "gw.pid").read_text())
    try:
        until(lambda: "export m is open" in log.read_text(), "the export")
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (directory / "gw.pid").exists(), "the exit")
    assert objects(log.read_text())


LOGGER = """
from twisted.logger import ILogObserver
from zope.interface import provider

def observer():
    file = open("mine", "a", buffering=1)

    @provider(ILogObserver)
    def write(event):
        file.write("MINE " + event["log_format"].format(**event) + "\\n")

    return write
"""


def test_a_logger_of_the_operators_own_gets_everything(directory: Path, monkeypatch: Any) -> None:
    """``--logger`` goes before ours."""
    configure(directory, "log_format = json\n")
    (directory / "path").mkdir()
    (directory / "path" / "own_logger.py").write_text(LOGGER)
    monkeypatch.setenv("PYTHONPATH", str(directory / "path"))
    mine = directory / "mine"
    out = serve_and_stop(directory, "--logger=own_logger.observer", until_there=mine)
    assert out == b""
    assert all(line.startswith("MINE ") for line in mine.read_text().splitlines())
