"""The configuration file as texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import ini
from gateway.errors import ConfigurationError


def _sections(text: str) -> dict[str, dict[str, str]]:
    document, problems = ini.parse(text, "gw.ini", "/etc")
    assert problems == []
    return document.sections


def test_percent_dollar_and_hash_are_literal() -> None:
    """Values are taken as they stand; there is no interpolation."""
    assert _sections("[a]\nk = 100% ${HOME} #1\n") == {"a": {"k": "100% ${HOME} #1"}}


def test_comments_end_values_only_behind_white_space_and_semicolon() -> None:
    """``key = value   ; words`` has the value ``value``."""
    text = "# one\n; two\n[a] ; three\nk = v   ; four\nm = a;b\n"
    assert _sections(text) == {"a": {"k": "v", "m": "a;b"}}


def test_values_continue_on_indented_lines() -> None:
    """Long lists may be broken into lines."""
    assert _sections("[a]\nk = b,\n  c\n") == {"a": {"k": "b,\nc"}}


def test_there_is_no_section_of_defaults() -> None:
    """``[DEFAULT]`` is a section like others, so that it can be refused."""
    assert _sections("[DEFAULT]\nk = v\n") == {"DEFAULT": {"k": "v"}}


def test_places_are_named_with_the_line_also_behind_continued_values() -> None:
    """Messages lead to the right line."""
    document, _ = ini.parse("\n[a]\nk = b,\n  c\n\nm = 1\n", "gw.ini", "/etc")
    assert document.where("a") == "gw.ini:2: [a]"
    assert document.where("a", "m") == "gw.ini:6: [a] m"


def test_a_missing_key_is_named_with_the_line_of_its_section() -> None:
    """What is not there has no line of its own."""
    document, _ = ini.parse("\n[a]\n", "gw.ini", "/etc")
    assert document.where("a", "k") == "gw.ini:2: [a] k"


def test_all_duplicates_are_found() -> None:
    """Sections and keys that come twice are mistakes, with both lines named."""
    _, problems = ini.parse("[a]\nk = 1\nk = 2\n[b]\n[a]\nm = 1\n", "gw.ini", "/etc")
    assert problems == [
        "gw.ini:3: [a] k is here twice, see line 2",
        "gw.ini:5: [a] is here twice, see line 1",
    ]


def test_all_lines_without_form_are_found() -> None:
    """A line that says nothing does not hide the next one."""
    _, problems = ini.parse("x = 1\n[a]\nword\nk = 1\nother word\n", "gw.ini", "/etc")
    assert problems == [
        'gw.ini:1: got "x = 1", expected [section] or key = value',
        'gw.ini:3: got "word", expected [section] or key = value',
        'gw.ini:5: got "other word", expected [section] or key = value',
    ]


def test_a_missing_file_is_one_problem() -> None:
    """No traceback for a typing mistake on the command line."""
    with pytest.raises(ConfigurationError) as caught:
        ini.load("/nonexistent/gw.ini")
    assert caught.value.problems == [
        "/nonexistent/gw.ini: cannot be read: No such file or directory"
    ]


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    """Export names are UTF-8, so the file is."""
    file = tmp_path / "gw.ini"
    file.write_bytes(b"[a]\nk = \xff\n")
    with pytest.raises(ConfigurationError) as caught:
        ini.load(str(file))
    assert caught.value.problems == [f"{file}:2: got bytes that are not UTF-8"]


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(tmp_path: Path) -> None:
    """Files from other systems are read."""
    file = tmp_path / "gw.ini"
    file.write_bytes(b"\xef\xbb\xbf[a]\r\nk = v\r\n")
    document, problems = ini.load(str(file))
    assert (document.sections, problems, document.base) == ({"a": {"k": "v"}}, [], str(tmp_path))
