"""Disks are copied into volumes and out of them, whole, or so that it can be gone on with."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import contextmanager

import pytest

from gateway import copying
from gateway.cli.exits import Exit
from gateway.cli.main import main
from gateway.cli.running import Interrupted
from gateway.info import MIB
from gateway.notes import Note

SIZE = 6 * MIB


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory to work in, with an image of three MiB of data in six."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "objects").mkdir()
    image = bytearray(SIZE)
    for place in (0, 2, 5):
        image[place * MIB : (place + 1) * MIB] = bytes([place + 1]) * MIB
    (tmp_path / "disk.raw").write_bytes(image)
    return tmp_path


def url(here, name="vm1"):
    """Of a volume."""
    return f"file://{here}/objects/{name}"


def answer(capsys):
    """What was printed, as JSON."""
    return json.loads(capsys.readouterr().out)


@contextmanager
def interrupted_at(place):
    """Whoever copies is interrupted when the note of that place, in bytes, was written."""
    write = Note.write

    def interrupt(note, reached):
        write(note, reached)
        if reached == place:
            raise Interrupted("what was copied is kept; the same command with --resume goes on")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(copying, "STEP", MIB)
        patched.setattr(Note, "write", interrupt)
        yield


def test_an_image_goes_in_and_comes_out(here, capsys):
    """The same bytes; the file that comes out is sparse."""
    assert main(["import", "disk.raw", url(here), "--json"]) == Exit.OK
    done = answer(capsys)
    assert done == {
        "size": SIZE,
        "copied_bytes": 3 * MIB,
        "skipped_bytes": 3 * MIB,
        "verified": True,
    }
    assert main(["export", url(here), "out.raw"]) == Exit.OK
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes()
    assert os.stat("out.raw").st_blocks * 512 < SIZE
    assert sorted(os.listdir()) == ["disk.raw", "objects", "out.raw", "state"]


def test_a_volume_is_made_as_large_as_is_said(here, capsys):
    """At least as large as what goes in."""
    assert main(["import", "disk.raw", url(here), "--size", "1G"]) == Exit.OK
    assert main(["volume", "info", url(here), "--json"]) == Exit.OK
    capsys.readouterr().out.partition("{")
    assert main(["import", "disk.raw", url(here, "small"), "--size", "1M"]) == Exit.USAGE
    assert "expected at least 6 MiB" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten_by_mistake(here, capsys):
    """Neither a volume with data nor a file."""
    main(["import", "disk.raw", url(here)])
    assert main(["import", "disk.raw", url(here)]) == Exit.USAGE
    assert "has data already; expected --overwrite" in capsys.readouterr().err
    (here / "out.raw").write_text("mine")
    assert main(["export", url(here), "out.raw"]) == Exit.USAGE
    assert (here / "out.raw").read_text() == "mine"


def test_an_overwritten_volume_is_the_image_and_zeroes_behind_it(here, capsys):
    """Nothing of what it held shows through."""
    (here / "large.raw").write_bytes(bytes([9]) * 2 * SIZE)
    main(["import", "large.raw", url(here)])
    assert main(["import", "disk.raw", url(here), "--overwrite"]) == Exit.OK
    main(["export", url(here), "out.raw"])
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes() + bytes(SIZE)


def test_an_interrupted_import_is_gone_on_with(here, capsys):
    """From the last place where everything was durable."""
    with interrupted_at(3 * MIB):
        assert main(["import", "disk.raw", url(here)]) == Exit.INTERRUPTED
    assert "--resume goes on" in capsys.readouterr().err
    assert main(["import", "disk.raw", url(here), "--resume", "--json"]) == Exit.OK
    assert answer(capsys)["copied_bytes"] == MIB
    main(["export", url(here), "out.raw"])
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes()


def test_an_interrupted_export_has_no_name_yet(here, capsys):
    """What looks whole is whole."""
    main(["import", "disk.raw", url(here)])
    with interrupted_at(3 * MIB):
        assert main(["export", url(here), "out.raw"]) == Exit.INTERRUPTED
    assert not os.path.exists("out.raw")
    assert os.path.exists("out.raw.part")
    capsys.readouterr()
    assert main(["export", url(here), "out.raw", "--resume", "--json"]) == Exit.OK
    assert answer(capsys)["copied_bytes"] == MIB
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes()
    assert not os.path.exists("out.raw.part")
    assert not os.path.exists("out.raw.part.json")


def test_a_source_that_was_changed_is_copied_anew(here, capsys):
    """Half of the old one and half of the new one is neither."""
    with interrupted_at(MIB):
        assert main(["import", "disk.raw", url(here)]) == Exit.INTERRUPTED
    (here / "disk.raw").write_bytes(bytes([77]) * SIZE)
    assert main(["import", "disk.raw", url(here), "--resume"]) == Exit.USAGE
    assert main(["import", "disk.raw", url(here), "--resume", "--overwrite"]) == Exit.OK
    assert "nothing to go on with" in capsys.readouterr().err
    main(["export", url(here), "out.raw"])
    assert (here / "out.raw").read_bytes() == bytes([77]) * SIZE


def test_a_note_without_its_file_tells_nothing(here):
    """The beginning would be missing, and nobody would see it."""
    main(["import", "disk.raw", url(here)])
    with interrupted_at(3 * MIB):
        assert main(["export", url(here), "out.raw"]) == Exit.INTERRUPTED
    os.unlink("out.raw.part")
    assert main(["export", url(here), "out.raw", "--resume"]) == Exit.OK
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes()


def test_going_on_with_nothing_overwrites_nothing(here, capsys):
    """A volume full of something else is not what was interrupted."""
    main(["import", "disk.raw", url(here)])
    (here / "other.raw").write_bytes(bytes([42]) * SIZE)
    assert main(["import", "other.raw", url(here), "--resume"]) == Exit.USAGE
    assert "no note of such a copy" in capsys.readouterr().err
    main(["export", url(here), "out.raw"])
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes()


def test_a_snapshot_is_exported_by_its_name(here, capsys):
    """As the disk was then."""
    main(["import", "disk.raw", url(here)])
    main(["snapshot", "create", url(here), "first"])
    (here / "other.raw").write_bytes(bytes([42]) * SIZE)
    main(["import", "other.raw", url(here), "--overwrite"])
    assert main(["export", f"{url(here)}@first", "out.raw"]) == Exit.OK
    assert (here / "out.raw").read_bytes() == (here / "disk.raw").read_bytes()
    assert main(["export", f"{url(here)}@second", "out2.raw"]) == Exit.NOT_FOUND


class _Standard:
    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return False


def test_streams_are_copied_as_files_are(here, monkeypatch):
    """In and out, and what is told of it does not get into the stream."""
    image = (here / "disk.raw").read_bytes()
    monkeypatch.setattr(sys, "stdin", _Standard(image))
    assert main(["import", "-", url(here), "--size", str(SIZE)]) == Exit.OK
    out, err = _Standard(), _Standard()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["export", url(here), "-"]) == Exit.OK
    assert out.buffer.getvalue() == image
    assert out.text == ""
    assert "is exported" in err.text


def test_a_stream_needs_a_size_for_a_new_volume(here, capsys, monkeypatch):
    """It does not tell."""
    monkeypatch.setattr(sys, "stdin", _Standard(b"x"))
    assert main(["import", "-", url(here)]) == Exit.USAGE
    assert "expected --size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("nowhere.raw", Exit.FAILED, "nowhere.raw: No such file"),
        ("image.qcow2", Exit.FAILED, "got an image in qcow2, expected a raw one"),
        ("nbd+unix:///?socket=nowhere.sock", Exit.FAILED, "nowhere.sock"),
        ("nbd+unix:///disk", Exit.USAGE, "expected socket=PATH"),
    ],
)
def test_a_source_that_is_none_is_refused(here, capsys, source, status, said):
    """And no volume is made for it."""
    (here / "image.qcow2").write_bytes(b"QFI\xfb" + bytes(508))
    assert main(["import", source, url(here)]) == status
    assert said in capsys.readouterr().err
    assert main(["volume", "info", url(here)]) == Exit.NOT_FOUND


def test_what_a_volume_costs_is_told_for_any_use(here, capsys):
    """With settings as they are by default."""
    main(["import", "disk.raw", url(here)])
    for words in ((), ("--writes", "1M"), ("--writes", "1M", "--flushes", "2", "--reads", "1M")):
        capsys.readouterr()
        assert main(["cost", url(here), *words, "--json"]) == Exit.OK
        assert answer(capsys)["dollars_a_month"] > 0


def test_a_volume_without_its_map_is_damaged(here, capsys):
    """The exit status says so, and the text what tells more."""
    main(["import", "disk.raw", url(here)])
    for name in (here / "objects" / "vm1" / "ck").iterdir():
        name.unlink()
    assert main(["export", url(here), "out.raw"]) == Exit.DAMAGED
    assert "`nbdgateway check` tells more" in capsys.readouterr().err
