"""Asking before what cannot be undone."""

from __future__ import annotations

import signal
import sys

from gateway.admin.wire import Cause, Problem
from gateway.cli.exits import Exit, Failure, wrong


def confirm(yes: bool, what: str, name: str) -> None:
    """
    Go on only if that is meant.

    Args:
        yes: it was said on the command line.
        what: will happen, and that it cannot be undone.
        name: to be typed.

    Raises:
        Failure: it is not, or there is no terminal to ask on.
        KeyboardInterrupt: Ctrl-C.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise wrong(f"{what} Nobody can be asked here: expected --yes")
    sys.stderr.write(f"{what}\nType {name} to go on: ")
    sys.stderr.flush()
    # Whoever waits for a line hears Ctrl-C at once.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        typed = sys.stdin.readline().rstrip("\n")
    finally:
        signal.signal(signal.SIGINT, before)
    if typed != name:
        raise Failure(Problem(Cause.REFUSED, "not confirmed; nothing was changed"), Exit.FAILED)
