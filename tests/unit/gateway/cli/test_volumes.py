"""Volumes are made where there was nothing yet, and nowhere by those who only look."""

from __future__ import annotations

import pytest

from gateway.cli.exits import Exit
from gateway.cli.main import main
from gateway.info import MIB


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A volume in a directory that is not there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return f"file://{tmp_path}/objects/vm1"


def test_a_volume_is_made_with_the_directory_for_it(url, tmp_path, capsys):
    assert main(["volume", "create", url, str(MIB)]) == Exit.OK
    assert main(["volume", "info", url]) == Exit.OK
    assert (tmp_path / "objects/vm1").is_dir()


def test_an_image_is_imported_with_the_directory_for_it(url, tmp_path, capsys):
    (tmp_path / "disk.raw").write_bytes(b"d" * MIB)
    assert main(["import", "disk.raw", url]) == Exit.OK
    assert (tmp_path / "objects/vm1").is_dir()


@pytest.mark.parametrize("command", [["volume", "info"], ["volume", "list"], ["check"], ["scrub"]])
def test_who_looks_for_a_volume_where_nothing_is_makes_nothing(url, tmp_path, capsys, command):
    assert main([*command, url]) == Exit.NOT_FOUND
    assert "there is no volume" in capsys.readouterr().err
    assert not (tmp_path / "objects").exists()


def test_a_directory_that_cannot_be_made_is_named(url, tmp_path, capsys):
    """It lies in one that is not there either."""
    assert main(["volume", "create", f"file://{tmp_path}/no/where/vm1", str(MIB)]) == Exit.USAGE
    told = capsys.readouterr().err
    assert f"{tmp_path}/no/where" in told and "a place for one in an existing one" in told
