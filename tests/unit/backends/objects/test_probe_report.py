"""Reports: kept as JSON, and judged by what the operator allows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.objects.probe_report import DANGERS, Report, refusal, unsafe_names
from gateway.settings import BadValue

UNSAFE = Report(
    "s3://disks", 1.0, ["conditional-put", "race"], {"conditional-put": "a", "race": "b"}
)

reports = st.builds(
    lambda store, when, seen, warnings: Report(
        store, when, [name for name in DANGERS if name in seen], seen, warnings
    ),
    st.text(),
    st.floats(0, 1e10),
    st.dictionaries(st.sampled_from(list(DANGERS)), st.text()),
    st.lists(st.text()),
)


@given(reports)
def test_a_report_comes_back_from_json(report):
    """Every one that a probe can make."""
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": 2}',
        '{"version": 1}',
        UNSAFE.to_json().replace("race", "rain"),
        UNSAFE.to_json().replace("1.0", '"now"'),
        UNSAFE.to_json().replace('"store"', '"place"'),
        UNSAFE.to_json().replace('"b"', "null"),
        json.dumps({**json.loads(UNSAFE.to_json()), "seen": {}}),
        json.dumps({**json.loads(UNSAFE.to_json()), "unsafe": "race"}),
        json.dumps({**json.loads(UNSAFE.to_json()), "unsafe": [["race"]]}),
    ],
)
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match=r"got|Expect|char"):
        Report.from_json(text)


def test_a_safe_store_is_not_refused():
    assert refusal(Report("s3://disks", 1.0, warnings=["versioning"]), ()) is None


def test_a_refusal_names_each_danger_and_what_may_happen():
    text = refusal(UNSAFE, ())
    assert text is not None
    lines = text.split("\n")
    assert lines[0] == "s3://disks is not safe for a volume:"
    assert lines[1] == f"conditional-put: a; so {DANGERS['conditional-put']}"
    assert lines[2] == f"race: b; so {DANGERS['race']}"
    assert lines[3] == "to use it all the same: allow_unsafe = conditional-put, race"


def test_what_the_operator_allows_is_not_refused():
    """By name; the rest still is."""
    assert refusal(UNSAFE, {"conditional-put", "race"}) is None
    assert refusal(UNSAFE, set(DANGERS)) is None
    text = refusal(UNSAFE, {"conditional-put", "range"})
    assert text is not None
    assert "race: b" in text
    assert "conditional-put: a" not in text


def test_allowed_names_are_read_from_the_configuration():
    assert unsafe_names("conditional-put, race") == {"conditional-put", "race"}
    for value in ("all", "race, rain", ""):
        with pytest.raises(BadValue):
            unsafe_names(value)
