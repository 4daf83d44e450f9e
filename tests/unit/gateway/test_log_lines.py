"""One line from one event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from gateway.errors import Unavailable
from gateway.log_lines import LIMIT, as_json, as_text, prioritized


def event(log_format: str = "", level: Any = LogLevel.info, **fields: Any) -> dict[str, Any]:
    """As `twisted.logger.Logger` makes them."""
    return {
        "log_format": log_format,
        "log_level": level,
        "log_namespace": "gateway.offers.Offer",
        "log_time": 1795801736.5,
        "log_source": object(),
        **fields,
    }


def failed(secret: str = "hunter2") -> Failure:
    """A failure out of a function whose variable holds a secret."""
    try:
        password = secret  # noqa: F841
        raise Unavailable("the disk is gone")
    except Unavailable:
        return Failure(captureVars=True)


def test_json_is_one_object_with_the_fields_of_the_event() -> None:
    """Under stable names; what Twisted adds for itself is left out."""
    line = as_json(event("{export} failed: {reason}", LogLevel.error, export="vm1", reason="no"))
    assert line.endswith("}\n") and line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-11-27T17:48:56.500Z",
        "level": "error",
        "event": "vm1 failed: no",
        "logger": "gateway.offers.Offer",
        "export": "vm1",
        "error": "no",
    }


def test_json_holds_whatever_a_field_is() -> None:
    """Numbers stay numbers; what JSON has not becomes a text; nothing is too long."""
    fields = {
        "offset": 2**63,
        "ms": 1.5,
        "rate": float("nan"),
        "read_only": True,
        "names": ("a", b"b"),
        "stages_ms": {"store": 2.0},
        "what": "x" * (2 * LIMIT),
        "nothing": None,
        "text\nwith": "line\x1b[2J\u2028s",
    }
    got = json.loads(as_json(event("said", **fields)))
    assert (got["offset"], got["ms"], got["rate"], got["read_only"]) == (2**63, 1.5, "nan", True)
    assert (got["names"], got["stages_ms"]) == (["a", "b'b'"], {"store": 2.0})
    assert len(got["what"]) == LIMIT
    assert "nothing" not in got
    assert got["text\nwith"] == "line\x1b[2J\u2028s"


def test_fields_of_events_never_replace_those_of_every_line() -> None:
    """Whatever an event brings along."""
    told = {**event("said"), "time": "then", "level": "none", "event": "?", "logger": "me"}
    got = json.loads(as_json(told))
    assert (got["level"], got["event"], got["time"][:4]) == ("info", "said", "2026")


def test_a_failure_has_its_traceback_and_no_values_of_variables() -> None:
    """They may be keys and passwords."""
    told = event("opening failed", LogLevel.critical, log_failure=failed())
    got = json.loads(as_json(told))
    assert got["error"] == "Unavailable: the disk is gone"
    assert "in failed" in got["traceback"]
    for text in (as_json(told), as_text(told)):
        assert "hunter2" not in text.replace("password = secret", "")


def test_text_is_when_how_grave_and_what() -> None:
    """Further lines are indented, so that each entry begins at the margin."""
    lines = as_text(event("reload: {change}", change="- a\n- b")).splitlines()
    assert lines[0][4:5] == "-" and lines[0].endswith(" info     reload: - a")
    assert lines[1:] == ["\t- b"]


def test_text_moves_no_cursor() -> None:
    """A client chooses names that come into the log."""
    assert "\\x1b[2J" in as_text(event("{name}", name="\x1b[2J"))


def test_an_event_without_words_is_no_line() -> None:
    """As Twisted has it."""
    assert (as_text(event()), as_json(event())) == ("", "")


def test_legacy_events_are_lines_too() -> None:
    """Twisted and its users still log by ``twisted.python.log``."""
    legacy = event("{log_text}", log_text="Factory starting", message=("Factory starting",))
    got = json.loads(as_json({**legacy, "isError": 0, "system": "-", "format": "%(x)s"}))
    assert got["event"] == "Factory starting"
    assert set(got) == {"time", "level", "event", "logger"}


@pytest.mark.parametrize(
    ("level", "mark"), [("info", "<6>"), ("warn", "<4>"), ("error", "<3>"), ("critical", "<2>")]
)
def test_the_journal_reads_how_grave_each_line_is(level: str, mark: str) -> None:
    """From the number in front of it, which it takes off; also of a traceback's lines."""
    told = event("gone", LogLevel.lookupByName(level), log_failure=failed())
    lines = prioritized(as_text)(told).splitlines()
    assert len(lines) > 2
    assert all(line.startswith(mark) for line in lines)
