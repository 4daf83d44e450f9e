"""Kinds of storage failures as NBD errors."""

from __future__ import annotations

import pytest

from gateway.errors import (
    Closed,
    Corrupt,
    Fenced,
    NoSpace,
    NotFast,
    ReadOnly,
    StorageError,
    Unavailable,
)
from gateway.nbd.errnos import to_nbd
from gateway.nbd.requests import Request
from tests import wire_format as w

COMMANDS = [w.READ, w.WRITE, w.FLUSH, w.TRIM, w.CACHE, w.WRITE_ZEROES, w.BLOCK_STATUS]
CHANGES = {w.WRITE, w.TRIM, w.WRITE_ZEROES}
STORES = {w.WRITE, w.WRITE_ZEROES}


def number(error: BaseException, command: int, flags: int = 0) -> int:
    return to_nbd(error, Request(command, flags, 0, 0, 512, None))[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_kinds_that_mean_the_same_for_every_command(command: int) -> None:
    """
    2.3, C9: what storage did is EIO, never the client's fault; closed is ESHUTDOWN.
    """
    for error in (Unavailable("x"), Corrupt("x"), Fenced("x"), StorageError("x")):
        assert number(error, command) == w.EIO
    for bug in (ZeroDivisionError(), OSError(95, "x"), KeyError("x")):
        assert number(bug, command) == w.EIO
    assert number(Closed("x"), command) == w.ESHUTDOWN
    assert number(MemoryError(), command) == w.ENOMEM


@pytest.mark.parametrize("command", COMMANDS)
def test_errors_of_some_commands_only(command: int) -> None:
    """
    2.3: EPERM only where something is changed, ENOSPC only where something is stored.
    """
    assert number(ReadOnly("x"), command) == (w.EPERM if command in CHANGES else w.EIO)
    assert number(NoSpace("x"), command) == (w.ENOSPC if command in STORES else w.EIO)


@pytest.mark.parametrize("flags", [0, w.FAST_ZERO, w.NO_HOLE, 0xFFFF & ~w.FAST_ZERO])
@pytest.mark.parametrize("command", COMMANDS)
def test_enotsup_is_for_fast_zeroes_only(command: int, flags: int) -> None:
    """
    Z5: NotFast without the flag, or on another command, never becomes ENOTSUP.
    """
    fast = command == w.WRITE_ZEROES and flags & w.FAST_ZERO
    assert number(NotFast(), command, flags) == (w.ENOTSUP if fast else w.EIO)


def test_text_of_a_bug_says_nothing_about_it() -> None:
    """
    C9: the traceback is in the log; the client is told where to look.
    """
    text = to_nbd(ValueError("secret"), Request(w.READ, 0, 0, 0, 512, None))[1]
    assert "secret" not in text
    assert "log" in text


def test_text_of_a_failure_is_its_own() -> None:
    """
    C3: what storage said, or a general word if it said nothing.
    """
    request = Request(w.WRITE, 0, 0, 0, 512, None)
    assert to_nbd(NoSpace("limit of 8 MiB"), request)[1] == "limit of 8 MiB"
    assert to_nbd(NoSpace(), request)[1] == "no space left"
