"""
Reading JSON field by field: a reader takes a value and its place, and refuses what does not fit.

A refusal is `Corrupt`: it names the place, what was got and what was expected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gateway.errors import Corrupt

U32 = (1 << 32) - 1
U64 = (1 << 64) - 1

T = TypeVar("T")

Reader = Callable[[Any, str], T]


def integer(maximum: int = U64, minimum: int = 0) -> Reader[int]:
    """A whole number."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise Corrupt(f"{where}: got {shown(value)}, expected {minimum} to {maximum}")
        return value

    return read


def uuid(value: Any, where: str) -> bytes:
    """Sixteen bytes, as hexadecimal digits."""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        raise Corrupt(f"{where}: got {shown(value)}, expected 32 hexadecimal digits")
    return bytes.fromhex(value)


def text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise Corrupt(f"{where}: got {shown(value)}, expected a text")
    return value


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Corrupt(f"{where}: got {shown(value)}, expected true or false")
    return value


def choice(*allowed: str) -> Reader[str]:
    """One of a few words."""

    def read(value: Any, where: str) -> str:
        if value not in allowed:
            raise Corrupt(f"{where}: got {shown(value)}, expected {' or '.join(allowed)}")
        return str(value)

    return read


def optional(read: Reader[T]) -> Reader[T | None]:
    """What ``read`` takes, or null."""
    return lambda value, where: None if value is None else read(value, where)


def sequence(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of what ``read`` takes."""

    def read_all(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Corrupt(f"{where}: got {shown(value)}, expected a list")
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_all


def record(make: Callable[..., T], readers: Mapping[str, Reader[Any]]) -> Reader[T]:
    """An object with just these fields."""

    def read(value: Any, where: str) -> T:
        values = fields_of(value, readers, where)
        unknown = sorted(set(value) - set(readers))
        if unknown:
            raise Corrupt(f"{where}: got the unknown fields {', '.join(unknown)}")
        return make(**values)

    return read


def fields_of(value: Any, readers: Mapping[str, Reader[Any]], where: str) -> dict[str, Any]:
    """The values of an object that has these fields, and perhaps others."""
    if not isinstance(value, dict):
        raise Corrupt(f"{where}: got {shown(value)}, expected an object")
    missing = sorted(set(readers) - set(value))
    if missing:
        raise Corrupt(f"{where}: the fields {', '.join(missing)} are missing")
    return {name: read(value[name], f"{where}: {name}") for name, read in readers.items()}


def shown(value: Any) -> str:
    """A value as it stands in a message, cut short."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 100 else f"{text[:100]}..."
