"""Proving, mending, measuring and drawing volumes from the shell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families as parse

from backends.volume.directory_provider import DirectoryProvider
from gateway.cli.disk_map import DiskMap, Shade
from gateway.cli.exits import Exit
from gateway.cli.main import main
from gateway.info import MIB
from tests.doubles.machine import Machine

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a volume of 64 MiB: data, a snapshot that holds more, and zeroes."""
    machine = Machine(tmp_path)
    provider = DirectoryProvider()
    settings = machine.settings(provider, path="objects")
    place = provider.place(settings, machine.resources)
    machine.settle(place.create(64 * MIB, ""))
    volume: Any = machine.settle(place.attach(False))
    machine.settle(volume.write(0, b"a" * (8 * MIB), False))
    machine.settle(volume.take_snapshot("monday"))
    machine.settle(volume.trim(4 * MIB, 4 * MIB, False))
    machine.settle(volume.write_zeroes(16 * MIB, 8 * MIB, False, False, False))
    machine.settle(volume.close())
    machine.stop()
    return tmp_path / "objects" / "vm1"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Status and standard output of a command about that volume."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main([*arguments, f"file://{folder}"])
        return status, capsys.readouterr().out

    return run


def test_a_volume_that_is_well(run: Run) -> None:
    for words in (["check"], ["scrub", "--rate", "1G"], ["check", "--repair"]):
        status, out = run(*words)
        assert status == Exit.OK
        assert "all is well" in out


def test_lost_checkpoints_are_damage_until_they_are_rebuilt(run: Run, folder: Path) -> None:
    for checkpoint in (folder / "ck").iterdir():
        checkpoint.unlink()
    status, out = run("check")
    assert status == Exit.DAMAGED
    assert "is missing from the store" in out
    assert "in snapshot monday" in out
    status, out = run("check", "--rebuild", "--json")
    assert status == Exit.REPAIRED
    value = json.loads(out)
    assert value["findings"] == []
    assert not value["damaged"]
    assert value["repaired"] > 0
    assert run("check")[0] == Exit.OK


def turn_a_bit(folder: Path) -> Path:
    """In the largest object, which it answers with."""
    largest = max((folder / "log").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) * 55 // 100] ^= 1
    largest.write_bytes(data)
    return largest


def test_a_turned_bit_is_named(run: Run, folder: Path) -> None:
    largest = turn_a_bit(folder)
    assert run("check")[0] == Exit.OK
    status, out = run("scrub", "--json")
    assert status == Exit.DAMAGED
    findings = json.loads(out)["findings"]
    assert {one["object"] for one in findings} == {f"vm1/log/{largest.name}"}
    assert all(one["severity"] == "damage" for one in findings)
    assert ["monday"] == [one["snapshot"] for one in findings if one["snapshot"]]
    assert all("frame" in one["what"] and one["ranges"][0][1] == 65536 for one in findings)


def test_a_scrub_tells_prometheus_when_it_was_and_what_it_found(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    """Also of severities that it found nothing of: series do not come and go."""
    metrics = tmp_path / "vm1.prom"
    before = time.time()
    assert run("scrub", "--metrics", str(metrics))[0] == Exit.OK
    first = scrubbed(metrics, f"file://{folder}")
    assert before <= first.pop("nbdgw_last_scrub_timestamp_seconds") <= time.time()
    assert first == {"damage": 0, "repairable": 0, "leak": 0, "note": 0}
    turn_a_bit(folder)
    assert run("scrub", "--metrics", str(metrics))[0] == Exit.DAMAGED
    assert scrubbed(metrics, f"file://{folder}")["damage"] > 0


def scrubbed(file: Path, volume: str) -> dict[str, float]:
    """What stands in a file of metrics: by severity, or by name."""
    samples = [one for family in parse(file.read_text()) for one in family.samples]
    assert {one.labels["volume"] for one in samples} == {volume}
    return {one.labels.get("severity", one.name): one.value for one in samples}


@pytest.mark.parametrize("name", ["none/vm1.prom", "vm1.txt"])
def test_a_scrub_that_could_not_tell_does_not_begin(run: Run, tmp_path: Path, name: str) -> None:
    """Nobody learns after hours that the folder is not there, or that the collector skips it."""
    status, out = run("scrub", "--metrics", str(tmp_path / name))
    assert (status, out) == (Exit.USAGE, "")


def test_a_scrub_that_failed_leaves_what_the_last_one_told(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    """Only one that came to its end counts."""
    metrics = tmp_path / "vm1.prom"
    metrics.write_text("as it was")
    for superblock in (folder / "sb").iterdir():
        superblock.unlink()
    assert run("scrub", "--metrics", str(metrics))[0] not in (Exit.OK, Exit.DAMAGED)
    assert metrics.read_text() == "as it was"


def test_left_overs_are_no_failure_and_go(run: Run, folder: Path) -> None:
    left = folder / "ck" / "00000001-00000055"
    left.write_bytes(b"x" * 1000)
    status, out = run("check")
    assert (status, "1 left over" in out) == (Exit.OK, True)
    assert "1000 B left over" in run("gc", "--dry-run")[1]
    assert left.exists()
    assert run("check", "--repair")[0] == Exit.REPAIRED
    assert not left.exists()


def test_what_it_takes(run: Run) -> None:
    value = json.loads(run("volume", "du", "--json")[1])
    assert (value["size"], value["data"], value["zero"]) == (64 * MIB, 4 * MIB, 8 * MIB)
    assert value["snapshots"][0]["name"] == "monday"
    assert "@monday" in run("volume", "du")[1]


def test_the_picture(run: Run, tmp_path: Path) -> None:
    value = json.loads(run("volume", "map", "--json")[1])
    assert value["bytes"] == {
        "data": 4 * MIB,
        "snapshot": 4 * MIB,
        "zero": 8 * MIB,
        "hole": 48 * MIB,
    }
    order = [one for at, one in enumerate(value["cells"]) if value["cells"][at - 1 : at] != [one]]
    assert order == ["data", "snapshot", "hole", "zero", "hole"]
    text = run("volume", "map")[1]
    assert all(sign in text for sign in "█▒░·")
    run("volume", "map", "--svg", str(tmp_path / "a.svg"), "--png", str(tmp_path / "a.png"))
    picture = ElementTree.parse(tmp_path / "a.svg").getroot()
    colours = [one.get("fill") for one in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert {"#2563eb", "#f59e0b", "#cbd5e1", "#f8fafc"} <= set(colours)
    with Image.open(tmp_path / "a.png") as image:
        assert image.convert("RGB").getpixel((2, 2)) == (0x25, 0x63, 0xEB)


def test_a_picture_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    assert run("volume", "map", "--svg", str(tmp_path / "none" / "a.svg"))[0] == Exit.USAGE


def test_no_cell_hides_a_little_data() -> None:
    picture = DiskMap(1 << 40, 10, 10)
    picture.paint(5 << 30, 512, Shade.DATA)
    picture.paint((5 << 30) + 512, 256, Shade.ZERO)
    cells = picture.cells()
    assert (cells[0], set(cells[1:])) == (Shade.DATA, {Shade.HOLE})
    assert picture.totals()[Shade.HOLE] == (1 << 40) - 768


def test_a_small_disk_has_no_cells_beyond_its_end() -> None:
    picture = DiskMap(1024, 128, 64)
    picture.paint(0, 4096, Shade.DATA)
    assert picture.cells() == [Shade.DATA, Shade.DATA]
