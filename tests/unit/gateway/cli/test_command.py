"""The command, against a server that answers what the test says."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from gateway.admin.wire import Cause, Problem
from gateway.cli import client as client_module
from gateway.cli.exits import MEANINGS, Exit
from gateway.cli.main import main
from tests.service.twistd import environment, until

EXPORT = {
    "name": "vm",
    "description": "",
    "provider": "s3",
    "storage": "bucket disks",
    "read_only": False,
    "open": True,
    "volume": True,
    "size": 10 << 30,
    "clients": 1,
}
MONDAY = {"name": "monday", "size": 1 << 20, "created": 1_700_000_000.5}


class Gateway:
    """
    Answers one request for each `expect`.

    Attributes:
        asked: the first line and the body of each request.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.asked: list[tuple[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._unanswered: list[socket.socket] = []
        self._answers: Queue[bytes | None] = Queue()
        self._thread = Thread(target=self._serve_all, daemon=True)
        self._thread.start()

    def expect(self, status: int, value: Any = None) -> None:
        """To a request that comes; bytes are sent as they are, instead of an answer."""
        body = b"" if value is None else json.dumps(value).encode() if status else value
        head = f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        self._answers.put(head + body if status else body)

    def _serve_all(self) -> None:
        """In the order in which they are expected."""
        while (answer := self._answers.get()) is not None:
            self._serve(answer)

    def _serve(self, answer: bytes) -> None:
        connection, _ = self._socket.accept()
        with connection, connection.makefile("rb") as file:
            first = file.readline().decode().strip()
            length = 0
            while line := file.readline().strip():
                name, _, value = line.decode().lower().partition(":")
                length = int(value) if name == "content-length" else length
            body = file.read(length)
            self.asked.append((first, json.loads(body) if body else None))
            connection.sendall(answer)

    def await_one(self, behind: int) -> None:
        """A request that is never answered has come, behind so many that are."""
        # Both would take the next connection, whichever that is.
        until(lambda: len(self.asked) == behind, "the requests in front of it")
        unanswered, _ = self._socket.accept()
        self._unanswered.append(unanswered)
        unanswered.recv(65536)

    def close(self) -> None:
        """Once all have been answered."""
        self._answers.put(None)
        self._thread.join(10)
        assert not self._thread.is_alive(), "a request that was expected never came"
        for unanswered in self._unanswered:
            unanswered.close()
        self._socket.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory whose path leaves room for a Unix socket."""
    with TemporaryDirectory(prefix="gw") as made:
        yield Path(made)


@pytest.fixture
def gateway(directory: Path) -> Iterator[Gateway]:
    made = Gateway(str(directory / "admin.sock"))
    yield made
    made.close()


@pytest.fixture
def run(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Status, output and errors of a command line."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        status = main(["--socket", gateway.path, *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_it


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "asked", "body", "answer", "text"),
    [
        (
            ["exports"],
            "GET /v1/exports",
            None,
            {"exports": [EXPORT, {**EXPORT, "name": "b", "size": None, "open": False}]},
            (
                "vm  10 GiB  open      1 client  s3: bucket disks\n"
                "b   -       not open  1 client  s3: bucket disks\n"
            ),
        ),
        (["exports"], "GET /v1/exports", None, {"exports": []}, "no exports\n"),
        (
            ["snapshot", "list", "a/b ä"],
            "GET /v1/exports/a%2Fb%20%C3%A4/snapshots",
            None,
            {"snapshots": [MONDAY]},
            "monday  2023-11-14 22:13:20Z  1 MiB\n",
        ),
        (
            ["snapshot", "list", "vm"],
            "GET /v1/exports/vm/snapshots",
            None,
            {"snapshots": []},
            "no snapshots\n",
        ),
        (
            ["snapshot", "create", "vm", "monday"],
            "POST /v1/exports/vm/snapshots",
            {"name": "monday"},
            MONDAY,
            "snapshot monday is taken; clients read it as vm@monday\n",
        ),
        (
            ["snapshot", "rollback", "vm", "monday", "--yes"],
            "POST /v1/exports/vm/rollback",
            {"snapshot": "monday"},
            {"export": "vm", "snapshot": "monday"},
            "vm is what it was in snapshot monday\n",
        ),
        (
            ["clone", "vm", "monday", "copies/one"],
            "POST /v1/exports/vm/clones",
            {"snapshot": "monday", "name": "copies/one"},
            {"export": "vm", "snapshot": "monday", "name": "copies/one"},
            (
                "volume copies/one is made of vm@monday. To serve it, add a section [export:...]\n"
                "with the keys of [export:vm], but prefix = copies/one, and reload.\n"
            ),
        ),
        (
            ["volume", "resize", "vm", "1T"],
            "POST /v1/exports/vm/resize",
            {"size": 1 << 40},
            {"export": "vm", "size": 1 << 40},
            "vm has 1 TiB; clients see it when they connect anew\n",
        ),
        (
            ["gc", "vm"],
            "POST /v1/exports/vm/collect",
            {},
            {"export": "vm", "emptied": 1, "swept": 0},
            "1 object emptied, 0 left-over objects deleted\n",
        ),
        (["reopen", "vm"], "POST /v1/exports/vm/reopen", {}, EXPORT, "vm is open: 10 GiB\n"),
    ],
)
def test_each_command_asks_for_one_thing_and_says_what_was_done(
    gateway: Gateway, run: Run, words: list[str], asked: str, body: Any, answer: Any, text: str
) -> None:
    """
    In words, or with --json as the gateway's own answer, before or behind the command. What is
    about one export is first looked up: it may not be open.
    """
    about = 0 if words[0] in ("exports", "reopen") else 1 + (words[:2] == ["snapshot", "list"])

    def expect() -> None:
        for _ in range(about):
            gateway.expect(200, EXPORT)
        gateway.expect(200, answer)

    expect()
    assert run(*words) == (0, text, "")
    expect()
    status, out, err = run("--json", *words)
    assert (status, json.loads(out), err) == (0, answer, "")
    expect()
    assert run(*words, "--json") == (0, out, "")
    asking = [one for one in gateway.asked if one == (f"{asked} HTTP/1.1", body)]
    assert (len(asking), len(gateway.asked)) == (3, 3 * about + 3)


def test_info_shows_every_fact(gateway: Gateway, run: Run) -> None:
    """Also those that a later gateway may add."""
    gateway.expect(
        200, {**EXPORT, "facts": {"live_bytes": 3 << 29, "new": "x", "objects": 7, "failure": ""}}
    )
    _, out, _ = run("volume", "info", "vm")
    lines = dict(line.split(None, 1) for line in out.splitlines() if len(line.split()) > 1)
    assert lines["size"] == "10 GiB (10737418240 bytes)"
    assert lines["live_bytes"] == "1.5 GiB (1610612736 bytes)"
    assert (lines["new"], lines["objects"], lines["read_only"]) == ("x", "7", "no")
    assert lines["failure"] == "-"


def test_deleting_answers_nothing_and_says_what_it_was(gateway: Gateway, run: Run) -> None:
    """Programs get the names that they gave."""
    gateway.expect(200, EXPORT)
    gateway.expect(204)
    assert run("snapshot", "delete", "vm", "mon:1")[1] == "snapshot mon:1 is deleted\n"
    gateway.expect(200, EXPORT)
    gateway.expect(204)
    _, out, _ = run("snapshot", "delete", "vm", "mon:1", "--json")
    assert json.loads(out) == {"export": "vm", "snapshot": "mon:1"}
    assert gateway.asked[1] == ("DELETE /v1/exports/vm/snapshots/mon%3A1 HTTP/1.1", None)


def test_a_snapshot_without_a_name_is_called_by_the_time(gateway: Gateway, run: Run) -> None:
    """UTC, in letters that a name may have."""
    gateway.expect(200, EXPORT)
    gateway.expect(201, MONDAY)
    run("snapshot", "create", "vm")
    name = gateway.asked[1][1]["name"]
    assert len(name) == len("20260102T030405Z")
    assert (name[8], name[-1]) == ("T", "Z")


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause.FAILED, 1),
        (Cause.REFUSED, 1),
        (Cause.NOT_A_VOLUME, 1),
        (Cause.FENCED, 4),
        (Cause.CORRUPT, 6),
        (Cause.BAD_REQUEST, 2),
        (Cause.NOT_FOUND, 3),
        (Cause.BUSY, 4),
        (Cause.UNAVAILABLE, 5),
    ],
)
def test_the_status_tells_the_cause(
    gateway: Gateway, run: Run, cause: Cause, expected: int
) -> None:
    """The text is the gateway's, in words or as JSON."""
    problem = Problem(cause, "why not").json()
    gateway.expect(200, EXPORT)
    gateway.expect(cause.status, problem)
    assert run("gc", "vm") == (expected, "", "nbdgateway: why not\n")
    gateway.expect(200, EXPORT)
    gateway.expect(cause.status, problem)
    status, out, err = run("gc", "vm", "--json")
    assert (status, out) == (expected, "")
    assert json.loads(err) == {"cause": cause.word, "detail": "why not"}


def test_an_answer_that_is_none_is_a_failure(gateway: Gateway, run: Run) -> None:
    """Whatever sits behind the socket."""
    for body in (b"<html>", b"[]"):
        gateway.expect(0, b"HTTP/1.1 500 x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        status, _, err = run("exports")
        assert (status, "an answer that is none" in err) == (1, True)
    gateway.expect(0, b"HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\n<html>")
    assert run("exports")[0] == 1


def test_a_gateway_that_ends_meanwhile_leaves_it_open(gateway: Gateway, run: Run) -> None:
    """Nobody knows whether it was done."""
    for sent in (b"", b"HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\n{"):
        gateway.expect(200, EXPORT)
        gateway.expect(0, sent)
        status, _, err = run("gc", "vm")
        assert (status, "is not known" in err) == (5, True)


def test_without_a_gateway_it_says_where_it_looked(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the configuration, by its default, or where an embedded gateway is."""
    monkeypatch.chdir(directory)
    config = directory / "gw.ini"
    for text, words, where in (
        ("", ["-c", "gw.ini"], f"{directory}/nbdgateway-state/admin.sock"),
        ("[gateway]\nstate_dir = s\n[oops]\n", ["-c", str(config)], f"{directory}/s/admin.sock"),
        ("[gateway]\nstate_dir = /s\n", ["--config=gw.ini"], "/s/admin.sock"),
        ("", [], "nbdgateway-data/admin.sock"),
        ("", ["--state-dir", "t"], "t/admin.sock"),
        ("", ["-c", "gw.ini", "--state-dir", "t"], f"{directory}/nbdgateway-state/admin.sock"),
        ("", ["--socket", "x"], "x"),
    ):
        config.write_text(text)
        assert main([*words, "exports"]) == 5
        said = capsys.readouterr().err
        assert said.startswith(f"nbdgateway: {where}: no gateway listens there")
        assert all(option in said for option in ("--config", "--state-dir", "--socket"))
        assert main(["exports", *words]) == 5
        capsys.readouterr()
    assert main(["--socket", "x" * 200, "exports"]) == 5
    assert "too long" in capsys.readouterr().err


def test_a_socket_of_another_user_is_told_as_such(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a gateway that does not run."""

    def refuse(connection: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(client_module._Connection, "connect", refuse)
    assert main(["--socket", "x", "exports"]) == 5
    assert "only the gateway's own user may ask" in capsys.readouterr().err


def test_a_configuration_with_mistakes_is_status_2(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them with their lines as soon as one matters, whatever the command."""
    config = directory / "gw.ini"
    config.write_text(
        "[gateway]\nstatedir = x\noops\n[listen:a]\nprotocol = nbdd\nendpoint = tcp:1\n"
        f"[export:vm]\nprovider = directory\npath = {directory}/s\nprefix = vm\nsize = much\n"
    )
    for words in (
        ["exports"],
        ["volume", "list"],
        ["volume", "info", "vm"],
        ["snapshot", "create", "vm"],
        ["check", "vm"],
        ["config", "check"],
        ["config", "show"],
    ):
        assert main(["-c", str(config), *words]) == 2
        said = capsys.readouterr().err.removeprefix("nbdgateway: ").splitlines()
        assert len(said) == 4
        assert said[0].startswith(f'{config}:2: [gateway] statedir: unknown key, did you mean "')
        assert said[1].startswith(f"{config}:3: got ")
        assert said[2].startswith(f"{config}:5: [listen:a] protocol: got ")
        assert said[3].startswith(f"{config}:11: [export:vm] size: got ")


def test_a_mistake_that_does_not_matter_is_no_hindrance(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A volume can be looked after while another section is being written."""
    config = directory / "gw.ini"
    config.write_text(
        f"[export:vm]\nprovider = directory\npath = {directory}/s\nprefix = vm\nsize = 1M\n"
        "[export:next]\nprovider = directory\n"
    )
    assert main(["-c", str(config), "volume", "create", "vm"]) == 0
    assert "is made" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["snapshot"],
        ["snapshot", "create"],
        ["snapshot", "rollback", "vm"],
        ["volume", "resize", "vm", "much"],
        ["gc", "\udcff"],
        ["exports", "--config", "a", "--socket", "b"],
        ["--config", "a", "exports", "--socket", "b"],
    ],
)
def test_a_line_that_cannot_be_understood_is_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anybody is asked."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: nbdgateway" in capsys.readouterr().err


def test_help_has_examples_and_every_status(capsys: pytest.CaptureFixture[str]) -> None:
    """So that nobody has to look for the manual."""
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "nbdgateway --config gw.ini snapshot create vm1" in out
    assert set(MEANINGS) == set(Exit)
    for status, meaning in MEANINGS.items():
        assert f"  {status.value}  {meaning}\n" in out


def test_who_stops_waiting_is_told_that_it_goes_on(directory: Path) -> None:
    """Ctrl-C does not undo anything that the gateway has begun."""
    gateway = Gateway(str(directory / "admin.sock"))
    gateway.expect(200, EXPORT)
    # The answer to the second request never comes.
    command = [sys.executable, "-m", "gateway.cli", "--socket", gateway.path, "gc", "vm"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        gateway.await_one(behind=1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == "nbdgateway: not waited for; the gateway goes on with it\n"
    gateway.close()
