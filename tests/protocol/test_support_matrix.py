"""The feature matrix is complete, and what it says can be looked up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MATRIX = (ROOT / "docs" / "reference" / "nbd-support.md").read_text(encoding="utf-8")

#: The rows of the checklist: letter, first and last number.
SERIES = [
    ("H", 1, 42),
    ("T", 1, 12),
    ("C", 1, 15),
    ("C", 20, 35),
    ("E", 1, 7),
    ("Z", 1, 15),
    ("M", 1, 26),
    ("D", 1, 11),
    ("U", 1, 15),
]
IDS = [f"{letter}{number}" for letter, first, last in SERIES for number in range(first, last + 1)]
IDS += [f"2.3 step {step}" for step in range(1, 15)]
IDS += [f"2.2 bit {bit}" for bit in [*range(13), "13-15"]]
IDS += ["MAX_STRING", "OPT_PARSE_MAX", "OPT_DRAIN_MAX", "MAX_PAYLOAD", "WRITE_DRAIN_MAX"]
IDS += ["HANDSHAKE_TIMEOUT", "MAX_OPTIONS", "MAX_INFLIGHT", "EXTENT_CAP"]


def rows() -> dict[str, tuple[str, list[str]]]:
    """Row to what is done and the names of its tests."""
    found = {}
    for line in MATRIX.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "Row":
            assert cells[0] not in found, f"{cells[0]} is there twice"
            found[cells[0]] = cells[1], re.findall(r"`(\w+)`", cells[2])
    return found


def names_of_tests() -> set[str]:
    """The names of all tests."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_is_in_the_matrix() -> None:
    """
    Sections 0 to 6: each row once, in order or not, and no others.
    """
    assert sorted(rows()) == sorted(IDS)


def test_every_row_says_what_is_done_and_names_its_tests() -> None:
    """
    A row without words or without a test is a promise that nobody keeps.
    """
    empty = [row for row, (what, shown_by) in rows().items() if not what or not shown_by]
    assert empty == []


def test_every_test_in_the_matrix_exists() -> None:
    """
    Tests that were renamed are renamed in the matrix too.
    """
    named = {name for _, shown_by in rows().values() for name in shown_by}
    assert named - names_of_tests() == set()


def test_every_bug_that_others_had_has_a_test_or_a_reason_for_none() -> None:
    """
    B1 to B39; a number that is gone from the tests was promised to be there.
    """
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("test_*.py")))
    tested = {int(number) for number in re.findall(r"(?:def test_|_)b(\d\d)(?=_)", text)}
    tested |= {int(number) for number in re.findall(r"\bB(\d\d), ", text)}
    reasons = MATRIX[MATRIX.index("Three have none") : MATRIX.index("## Constants")]
    excused = {int(number) for number in re.findall(r"\bB(\d\d),", reasons)}
    assert len(excused) == 3
    assert tested | excused == set(range(1, 40))
    assert not tested & excused
