"""The objects that a volume is made of: their types, and what they are called in the store."""

from __future__ import annotations

import re
from enum import IntEnum

_U32 = 1 << 32
_U64 = 1 << 64


class Kind(IntEnum):
    """The type of an object; in every header."""

    DATA = 1
    FENCE = 2
    MOVED = 3
    CHECKPOINT = 4
    SUPERBLOCK = 5


class Names:
    """
    Keys under one volume's prefix, made and read.

    The parsers answer None for every key that this class would not make:
    what is foreign is left alone.

    Args:
        prefix: the volume's folder in the store; empty for the store's root.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.rstrip("/")
        folder = f"{self.prefix}/" if self.prefix else ""
        self.log_prefix = f"{folder}log/"
        self.gc_prefix = f"{folder}gc/"
        self.ck_prefix = f"{folder}ck/"
        self.sb_prefix = f"{folder}sb/"
        self.ref_prefix = f"{folder}ref/"

    def log(self, seq: int) -> str:
        """Slot ``seq`` of the log: data or a fence."""
        return f"{self.log_prefix}{_checked(seq, _U64):016x}"

    def gc(self, epoch: int, n: int) -> str:
        """The ``n``-th object that the collector of an epoch made."""
        return f"{self.gc_prefix}{_checked(epoch, _U32):08x}-{_checked(n, _U32):08x}"

    def ck(self, epoch: int, n: int) -> str:
        """The ``n``-th checkpoint of an epoch."""
        return f"{self.ck_prefix}{_checked(epoch, _U32):08x}-{_checked(n, _U32):08x}"

    def sb(self, generation: int) -> str:
        """A superblock."""
        return f"{self.sb_prefix}{_checked(generation, _U64):016x}"

    def ref(self, uuid: bytes) -> str:
        """The note that the clone of that uuid (16 bytes) needs a snapshot of this volume."""
        if len(uuid) != 16:
            raise ValueError(f"uuid: got {len(uuid)} bytes, expected 16")
        return f"{self.ref_prefix}{uuid.hex()}"

    def parse_log(self, key: str) -> int | None:
        """The slot, or None."""
        return _number(key, self.log_prefix)

    def parse_sb(self, key: str) -> int | None:
        """The generation, or None."""
        return _number(key, self.sb_prefix)

    def parse_gc(self, key: str) -> tuple[int, int] | None:
        """Epoch and n, or None."""
        return _pair(key, self.gc_prefix)

    def parse_ck(self, key: str) -> tuple[int, int] | None:
        """Epoch and n, or None."""
        return _pair(key, self.ck_prefix)

    def parse_ref(self, key: str) -> bytes | None:
        """The clone's uuid (16 bytes), or None."""
        digits = _after(key, self.ref_prefix, _UUID)
        return None if digits is None else bytes.fromhex(digits)


_NUMBER = re.compile(r"[0-9a-f]{16}")
_PAIR = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}")
_UUID = re.compile(r"[0-9a-f]{32}")


def _checked(value: int, limit: int) -> int:
    if not 0 <= value < limit:
        raise ValueError(f"number in an object's name: got {value}, expected 0 to {limit - 1}")
    return value


def _after(key: str, prefix: str, pattern: re.Pattern[str]) -> str | None:
    if key.startswith(prefix) and pattern.fullmatch(key, len(prefix)):
        return key[len(prefix) :]
    return None


def _number(key: str, prefix: str) -> int | None:
    digits = _after(key, prefix, _NUMBER)
    return None if digits is None else int(digits, 16)


def _pair(key: str, prefix: str) -> tuple[int, int] | None:
    digits = _after(key, prefix, _PAIR)
    return None if digits is None else (int(digits[:8], 16), int(digits[9:], 16))
