"""
Settings as attrs classes: how one text value of a configuration file becomes a typed one.

A section of the file is described by an attrs class. Each field is made by
`setting`, which names the converter, the default and the sentence for the
reference manual. `read` turns a mapping of texts into an instance and finds
*every* mistake, not just the first.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

S = TypeVar("S")

#: As the default of a `setting`: the name in the section's header, converted like any text.
NAME = object()

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_SIZE = re.compile(r"(\d+)\s*(?:([KMGTPE])(?:i?B)?|B)?", re.IGNORECASE)


#: In the name of a key whose value may be a secret.
_SECRET = re.compile(
    r"secret|password|passwd|passphrase|token|credential|signature|access[-_]?key|^key$", re.I
)


class BadValue(ValueError):
    """A text that a converter refuses; the text says what was expected."""


def size(text: str) -> int:
    """Bytes from ``4096``, ``20G``, ``1 GiB``; units are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadValue("a number of bytes, or one with K, M, G, T (powers of 1024)")
    return int(match[1]) << _UNITS[(match[2] or "").upper()]


def boolean(text: str) -> bool:
    """True and False from yes/no, true/false, on/off, 1/0."""
    value = {"yes": True, "true": True, "on": True, "1": True}.get(text.lower())
    if value is None:
        value = {"no": False, "false": False, "off": False, "0": False}.get(text.lower())
    if value is None:
        raise BadValue("yes or no")
    return value


def seconds(text: str) -> float:
    """A duration of zero or more seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadValue("a number of seconds, zero or more")
    return value


def text(value: str) -> str:
    """Any non-empty text."""
    if not value:
        raise BadValue("some text")
    return value


def words(value: str) -> tuple[str, ...]:
    """A list, separated by commas or white space."""
    items = tuple(filter(None, re.split(r"[,\s]+", value)))
    if not items:
        raise BadValue("a list, separated by commas")
    return items


def octal_mode(value: str) -> int:
    """File permissions such as ``0660``."""
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise BadValue("file permissions in octal, such as 0660")
    return int(value, 8)


class path(str):
    """A file-system path; relative ones start at the configuration file."""


def choice(*allowed: str) -> Callable[[str], str]:
    """One of a few words."""

    def convert(value: str) -> str:
        if value not in allowed:
            raise BadValue(" | ".join(allowed))
        return value

    convert.__doc__ = f"One of {', '.join(allowed)}."
    return convert


def setting(convert: Callable[[str], Any], doc: str, default: Any = attrs.NOTHING) -> Any:
    """
    A field of a settings class.

    Args:
        convert: text to value; raises `BadValue` with what it expected.
        doc: what the key means, for the reference manual.
        default: the value when the key is absent; none makes it required.
    """
    metadata = {"convert": convert, "doc": doc, "named": default is NAME}
    if default is NAME:
        default = attrs.NOTHING
    return attrs.field(default=default, kw_only=True, metadata=metadata)


def read(
    settings_class: type[S],
    values: Mapping[str, str],
    base: str,
    where: Callable[[str], str],
    name: str | None = None,
) -> tuple[S | None, list[str]]:
    """
    Turn texts into an instance of ``settings_class``.

    Args:
        values: key to text, as in the file.
        base: the directory at which relative paths start.
        where: names a key for a message, such as ``gw.ini:7: [export:a] size``.
        name: the section's, for keys whose default is `NAME`.

    Returns:
        The instance (None if there was a mistake) and every mistake found.
    """
    fields = {field.name: field for field in attrs.fields(settings_class)}  # type: ignore[arg-type]
    problems = [
        f"{where(key)}: unknown key{did_you_mean(key, fields)}"
        for key in values
        if key not in fields
    ]
    if name is not None:
        named = {key: name for key, field in fields.items() if field.metadata["named"]}
        values = {**named, **values}
    converted: dict[str, Any] = {}
    for key, field in fields.items():
        if key not in values:
            if field.default is attrs.NOTHING:
                problems.append(f"{where(key)}: missing, expected {_expectation(field)}")
            continue
        convert = field.metadata["convert"]
        try:
            if convert is path:
                converted[key] = os.path.join(base, os.path.expanduser(text(values[key])))
            else:
                converted[key] = convert(values[key])
        except BadValue as expected:
            problems.append(f'{where(key)}: got "{values[key]}", expected {expected}')
    if problems:
        return None, problems
    try:
        return settings_class(**converted), []
    except BadValue as problem:
        return None, [f"{where('')}: {problem}"]


def check_public(key: str) -> None:
    """
    Raises:
        BadValue: by its name the value of a key may be a secret, which comes from a file and from
            no command line; only the name is quoted.
    """
    if _SECRET.search(key) and not key.endswith("_file"):
        raise BadValue(f"no {key[:40]!r}: secrets come from files, never from the command line")


def did_you_mean(word: str, known: Mapping[str, Any] | list[str]) -> str:
    """A hint to append to a message about an unknown word; empty if nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    if close:
        return f', did you mean "{close[0]}"?'
    return f", expected one of {', '.join(sorted(known))}" if known else ""


def _expectation(field: attrs.Attribute[Any]) -> str:
    summary = (field.metadata["convert"].__doc__ or "a value").strip().split("\n")[0]
    return (summary[0].lower() + summary[1:].rstrip(".")).replace("``", "")
