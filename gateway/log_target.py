"""
Where the log goes under twistd, and in which form.

twistd makes an observer from ``--logger``, ``--syslog``, ``--logfile`` and
``--nodaemon``, unless the application brings one along. Ours does, for files
and standard output, and gives the options the meaning that twistd gives them,
rotation included. The first two are left to twistd.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.logger import FileLogObserver, ILogObserver
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from gateway.log_lines import Event, as_json, as_text, prioritized
from gateway.log_repeats import Repeats

#: What twistd calls its file when it is not told.
DEFAULT_FILE = "twistd.log"

#: ``log_format =``.
FORMATS = ("auto", "text", "json")


def install(application: Componentized, twistd: Mapping[str, Any], log_format: str) -> None:
    """
    Have the application bring our observer along; see `twisted.application.app.AppLogger`.

    Args:
        twistd: its options.

    Raises:
        SystemExit: a daemon has no standard output.
    """
    if twistd.get("logger") is None and not twistd.get("syslog"):
        application.setComponent(ILogObserver, observer(twistd, log_format))


def observer(twistd: Mapping[str, Any], log_format: str) -> ILogObserver:
    """
    Raises:
        SystemExit: a daemon has no standard output.
    """
    target = _target(twistd.get("logfile") or "", bool(twistd.get("nodaemon")))
    lines: Any = FileLogObserver(target, form(log_format, target, os.environ))
    repeats: Any = Repeats(lines)
    atexit.register(repeats.flush)
    return repeats  # type: ignore[no-any-return]


def form(log_format: str, target: Any, environment: Mapping[str, str]) -> Callable[[Event], str]:
    """
    How an event becomes a line.

    Args:
        log_format: ``auto`` is text on a terminal and JSON elsewhere.
        target: a text stream, or a `LogFile`.
    """
    is_terminal = bool(getattr(target, "isatty", bool)())
    journal = _is_journal(target, environment)
    if log_format == "text" or (log_format == "auto" and is_terminal):
        return prioritized(partial(as_text, timed=False)) if journal else as_text
    return prioritized(as_json) if journal else as_json


def _target(name: str, no_daemon: bool) -> Any:
    if name == "-" and not no_daemon:
        sys.exit("Daemons cannot log to stdout, exiting!")
    if no_daemon and name in ("", "-"):
        return sys.stdout
    file = LogFile.fromFullPath(name or DEFAULT_FILE)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, partial(_rotate_soon, file))
    return file


def _rotate_soon(file: LogFile, signal_number: int, frame: object) -> None:
    from twisted.internet import reactor

    reactor.callFromThread(file.rotate)  # type: ignore[attr-defined]


def _is_journal(target: Any, environment: Mapping[str, str]) -> bool:
    """Whether systemd's journal reads ``target``; see "JOURNAL_STREAM" in systemd.exec(5)."""
    named = environment.get("JOURNAL_STREAM", "")
    try:
        there = os.fstat(target.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return named == f"{there.st_dev}:{there.st_ino}"
