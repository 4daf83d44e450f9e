"""Texts as the protocol carries them, and as they may appear in ours."""

from __future__ import annotations

from gateway.nbd.limits import MAX_STRING


def utf8(text: str) -> bytes:
    """Text as UTF-8, cut between characters to what the protocol allows."""
    data = text.encode("utf-8", "replace")[:MAX_STRING]
    return data.decode("utf-8", "ignore").encode()


def quoted(name: str) -> str:
    """
    A client's name as it may appear in a text: at most 80 characters, control
    characters escaped (CVE-2020-10761).
    """
    shown = name if len(name) <= 80 else name[:77] + "..."
    return '"' + "".join(ch if ch.isprintable() else f"\\x{ord(ch):02x}" for ch in shown) + '"'
