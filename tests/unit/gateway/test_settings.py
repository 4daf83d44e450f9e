"""Settings classes: what a key is when the section does not have it."""

from __future__ import annotations

import attrs

from gateway.settings import NAME, BadValue, read, setting, size, text


def lower(value: str) -> str:
    """Text in lower case."""
    if value != value.lower():
        raise BadValue("text in lower case")
    return value


@attrs.frozen
class Named:
    """One key that the section's name stands in for."""

    folder: str = setting(lower, "Where.", NAME)
    title: str = setting(text, "What.", "none")


@attrs.frozen
class Sized:
    """A key that has to be there."""

    size: int = setting(size, "Bytes.")


def test_a_key_may_default_to_the_name_of_its_section() -> None:
    """Written or not, the provider sees a value, so identity and description need no name."""
    assert read(Named, {}, "/", str, "vm1") == (Named(folder="vm1"), [])
    assert read(Named, {"folder": "a"}, "/", str, "vm1") == (Named(folder="a"), [])


def test_a_name_is_converted_like_any_text() -> None:
    """A name that does not do has to be replaced by a key that does."""
    _, problems = read(Named, {}, "/", str, "VM1")
    assert problems == ['folder: got "VM1", expected text in lower case']


def test_what_is_missing_is_told_in_plain_text() -> None:
    """The sentence of a converter is Markdown, for the reference; a message is not."""
    _, problems = read(Sized, {}, "/", str)
    assert problems == [
        "size: missing, expected bytes from 4096, 20G, 1 GiB; units are powers of 1024"
    ]


def test_without_a_name_the_key_is_required() -> None:
    """Sections without names cannot have such keys unwritten."""
    _, problems = read(Named, {}, "/", str)
    assert problems == ["folder: missing, expected text in lower case"]
