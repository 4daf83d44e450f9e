"""What was changed between two snapshots, or since one, is told: all of it, and in order."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import maybeDeferred

from gateway.cli import changes
from gateway.cli.arguments import parse
from gateway.cli.exits import Exit
from gateway.cli.main import main
from gateway.cli.running import run
from gateway.cli.session import Session
from gateway.info import MIB

SIZE = 8 * MIB


@pytest.fixture
def url(tmp_path, monkeypatch, capsys):
    """A volume with two snapshots; something was changed between them, and since."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "objects").mkdir()
    url = f"file://{tmp_path}/objects/vm1"
    main(["volume", "create", url, str(SIZE)])
    write(url, (0, MIB))
    main(["snapshot", "create", url, "monday"])
    write(url, (3 * MIB, MIB), (7 * MIB, 4096))
    main(["snapshot", "create", url, "tuesday"])
    write(url, (5 * MIB, MIB), (6 * MIB, MIB))
    capsys.readouterr()
    return url


def write(url, *parts):
    """As a client does."""

    async def work(runtime):
        async with Session(parse(["volume", "info", url]), runtime).volume(url) as volume:
            for offset, length in parts:
                await maybeDeferred(volume.write, offset, b"w" * length, False)
            await maybeDeferred(volume.flush)

    run(work)


def extents(capsys, *arguments):
    """The JSON of it: offsets and lengths, after all else was looked at."""
    assert main(["changed", *arguments, "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    found = [(one["start"], one["length"]) for one in told["extents"]]
    assert told["changed_bytes"] == sum(length for _, length in found)
    assert (told["export"], told["since"], told["size"]) == (*arguments[:2], SIZE)
    return found


def test_between_two_snapshots(url, capsys):
    """Neither what was changed before nor what was changed after."""
    expected = [(3 * MIB, MIB), (7 * MIB, 4096)]
    assert extents(capsys, url, "monday", "tuesday") == expected


def test_since_a_snapshot(url, capsys):
    """Until now; neighbours are one extent."""
    assert extents(capsys, url, "tuesday") == [(5 * MIB, 2 * MIB)]
    everything = [(3 * MIB, MIB), (5 * MIB, 2 * MIB + 4096)]
    assert extents(capsys, url, "monday") == everything


def test_steps_are_not_seen(url, capsys, monkeypatch):
    """An extent that goes over the end of what is asked at a time is one."""
    monkeypatch.setattr(changes, "_STEP", MIB // 2)
    assert extents(capsys, url, "monday") == [(3 * MIB, MIB), (5 * MIB, 2 * MIB + 4096)]


def test_people_get_a_table_and_the_sum(url, capsys):
    """In bytes, and what they come to."""
    assert main(["changed", url, "monday", "tuesday"]) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "start    length",
        "3145728  1048576",
        "7340032  4096",
        "1 MiB of 8 MiB changed since monday, in 2 extents",
    ]


def test_nothing_changed_is_said_in_one_line(url, capsys):
    """And is no failure."""
    main(["snapshot", "create", url, "wednesday"])
    capsys.readouterr()
    assert main(["changed", url, "wednesday"]) == Exit.OK
    said = "0 B of 8 MiB changed since wednesday, in 0 extents\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("names", "status", "said"),
    [
        (["sunday"], Exit.NOT_FOUND, "got sunday, expected a snapshot of it: monday, tuesday"),
        (["monday", "sunday"], Exit.NOT_FOUND, "got sunday, expected a snapshot of it"),
        (["tuesday", "monday"], Exit.USAGE, "expected the older one first"),
        (["monday", "monday"], Exit.USAGE, "expected the older one first"),
    ],
)
def test_points_in_time_that_are_none_are_refused(url, capsys, names, status, said):
    """With those that there are."""
    assert main(["changed", url, *names]) == status
    assert said in capsys.readouterr().err
