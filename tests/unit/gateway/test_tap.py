"""twistd's door."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from twisted.application.service import IService
from twisted.python.usage import UsageError

from gateway.service import Gateway
from gateway.tap import Options, makeService, spare_what_stays

GOOD = "[listen:l]\nendpoint = tcp:10809:interface=127.0.0.1\n[export:m]\nprovider = memory\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file in the current directory."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "gw.ini"
    made.write_text(GOOD + "size = 1M\n")
    return made


def test_paths_are_absolute_before_a_daemon_changes_directory(file: Path) -> None:
    """twistd goes elsewhere between parsing and starting."""
    options = Options()
    options.parseOptions(["--config", "gw.ini"])
    assert options["config"] == str(file)
    options = Options()
    options.parseOptions([])
    assert options["data-dir"] == str(file.parent / "nbdgateway-data")


def test_making_the_service_opens_and_makes_nothing(file: Path) -> None:
    """It happens before the fork."""
    options = Options()
    options.parseOptions([])
    service = makeService(options)
    assert IService.providedBy(service)
    assert isinstance(service, Gateway)
    assert os.listdir(file.parent) == ["gw.ini"]


def test_check_prints_what_would_be_served(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, on standard output."""
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--config", "gw.ini", "--check"])
    assert caught.value.code == 0
    assert "export m: memory" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--check"]])
def test_mistakes_end_it_with_status_1(
    file: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    """On standard error, one line each, with or without --check."""
    file.write_text(GOOD + "size = much\ncolour = red\n")
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--config", "gw.ini", *more])
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(": ")[0] for line in captured.err.splitlines()] == [
        f"{file}:5",
        f"{file}:6",
    ]


@pytest.mark.parametrize("port", ["http", "-1", "65536"])
@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_port_is_a_number_below_65536(option: str, port: str) -> None:
    """Said before anything starts."""
    with pytest.raises(UsageError, match=option):
        Options().parseOptions([option, port])


def test_a_reload_reads_the_file_again(file: Path) -> None:
    """The same file, also after a change of directory."""
    options = Options()
    options.parseOptions(["--config", "gw.ini"])
    assert options.reload is not None
    file.write_text(GOOD + "size = 2M\n")
    os.chdir("/")
    assert options.reload() != options.configuration


def test_the_collector_leaves_out_what_came_with_the_start() -> None:
    """Again and again: what was left out and is no longer needed goes with the next time."""
    threshold = gc.get_threshold()
    try:
        spare_what_stays()
        frozen = gc.get_freeze_count()
        assert frozen > 10_000
        assert len(gc.get_objects()) < 1000
        more = [[] for _ in range(5000)]  # type: ignore[var-annotated]
        more[0].append(more)
        spare_what_stays()
        assert gc.get_freeze_count() > frozen + 4000
        del more
        spare_what_stays()
        assert gc.get_freeze_count() < frozen + 1000
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
