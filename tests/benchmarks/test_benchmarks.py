"""
Every benchmark runs, and the requests it counts are those that the targets allow.

No time is asserted: machines differ, and this one has other work.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS, command
from benchmarks.peers.__main__ import all_rows
from benchmarks.peers.disks import peers
from benchmarks.peers.figures import median, table, text_of
from tests.interop.clients import find

ROOT = Path(__file__).parents[2]

#: Rows whose requests are asserted.
COUNTED = "2,6,8,11,15"


def run(*arguments):
    """A benchmark that has to succeed; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Rows with this gateway alone, as a table and as JSON."""
    find("nbdcopy")
    file = tmp_path_factory.mktemp("peers") / "found.json"
    words = f"--quick --kinds nbdgateway --rows {COUNTED} --json {file}".split()
    return run("benchmarks.peers", *words), json.loads(file.read_text())


@pytest.mark.timeout(900)
def test_the_table_has_a_line_for_each_row(measured):
    """With the target beside the result."""
    text, _ = measured
    lines = text.splitlines()
    assert lines[0] == "| # | what | nbdgateway | nbdgateway, journal | target | met |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == COUNTED.split(",")


@pytest.mark.parametrize(
    ("row", "figure", "most"),
    [
        ("2", "PUT", 1),
        ("2", "GET", 0),
        ("2", "sent_kib", 80),
        ("6", "GET", 70),
        ("6", "PUT", 0),
        ("8", "PUT", 2),  # of 8 MiB each
        ("8", "GET", 0),
        ("11", "requests for each", 0),
        ("15", "requests of trim and flush", 1),
        ("15", "requests of zero and flush", 1),
    ],
)
def test_a_volume_asks_no_more_of_its_store_than_its_targets_allow(measured, row, figure, most):
    """Counted by the store."""
    (once,) = measured[1][row]["nbdgateway"]
    assert once.get(figure, 0) <= most


def test_a_journal_spares_the_flush_its_request(measured):
    """What is written is on the local disk."""
    (once,) = measured[1]["2"]["nbdgateway, journal"]
    assert once["requests"] == 0


@pytest.mark.timeout(900)
def test_peers_are_counted_as_well(tmp_path):
    """nbdkit's S3 plugin puts every block, and gets it before."""
    for peer in peers():
        if peer.kind.name == "nbdkit S3" and peer.missing is not None:
            assert not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"), peer.missing
            pytest.skip(peer.missing)
    file = tmp_path / "found.json"
    run("benchmarks.peers", *f"--quick --kinds nbdkit --rows 2,8,11 --json {file}".split())
    found = json.loads(file.read_text())
    (scattered,), (in_order,), (unmapped,) = (found[row]["nbdkit S3"] for row in ("2", "8", "11"))
    assert scattered["PUT"] == scattered["GET"] == 16
    assert in_order["PUT"] == 16 * 16
    assert unmapped["requests for each"] == 1


@pytest.mark.timeout(900)
def test_sizes_are_measured_and_drawn(tmp_path):
    """Attaching asks for as much on 10 TiB as on 1 GiB."""
    find("nbdsh")
    file, picture = tmp_path / "sizes.json", tmp_path / "sizes.svg"
    drawn = importlib.util.find_spec("matplotlib") is not None
    more = ["--plot", str(picture)] if drawn else []
    text = run("benchmarks.volume_sizes", "--quick", "--json", str(file), *more)
    assert "| 10 TiB |" in text
    found = json.loads(file.read_text())
    small, large = found[str(1 << 30)], found[str(10 << 40)]
    assert abs(small["requests clean"] - large["requests clean"]) <= 2
    assert not drawn or picture.read_text().startswith("<?xml")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["figures", "volume-path", "extent-map", "servers"])
def test_a_part_runs(name, tmp_path):
    """As the one command runs it, quickly."""
    if name == "servers":
        for tool in ("fio", "nbdcopy", "nbdkit", "qemu-nbd"):
            find(tool)
    words = command(PARTS[name], name, True, tmp_path)
    if name == "figures":
        words += ["--only", "flush"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_one_command_keeps_what_a_part_prints(tmp_path):
    """In a file of the part's name."""
    text = run("benchmarks", "--quick", "--results", str(tmp_path), "extent-map")
    assert (tmp_path / "extent-map.md").read_text().strip() in text


def test_an_unknown_part_is_named():
    """With those that there are."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "got nothing, expected some of peers, sizes" in done.stderr


def test_rows_have_numbers_of_their_own():
    """In order."""
    numbers = [row.number for row in all_rows()]
    assert len(set(numbers)) == len(numbers)


def test_figures_are_medians_with_their_units():
    """A figure that one run lacks is nothing there."""
    runs = [{"_ms": 3.0, "PUT": 1.0}, {"_ms": 1.0, "PUT": 1.0}, {"_ms": 2.0}]
    assert text_of(median(runs)) == "2 ms, 1 PUT"
    assert text_of({"accepted_per_s": 12345.6, "sent_kib": 64.4}) == (
        "accepted 12,346/s, sent 64.4 KiB"
    )


def test_a_row_without_figures_is_left_out():
    """And a kind that was not measured is a dash."""
    rows = [row for row in all_rows() if row.number in ("2", "11")]
    found = {"11": {"nbdgateway": {"_ms": 0.1, "requests for each": 0.0}}}
    lines = table(rows, ["nbdgateway", "others"], found).splitlines()
    assert len(lines) == 3
    assert lines[2].endswith("| 0.10 ms, 0 requests for each | – | 0.2 ms, no request | yes |")
