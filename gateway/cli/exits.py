"""What the command's exit statuses mean, and the failures that lead to them."""

from __future__ import annotations

from enum import IntEnum

from gateway.admin.wire import Cause, Problem
from gateway.errors import (
    ConfigurationError,
    Corrupt,
    ExportBusy,
    ExportUnavailable,
    Fenced,
    NoSpace,
    StorageError,
    UnknownExport,
)
from gateway.settings import BadValue


class Exit(IntEnum):
    """An exit status."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    BUSY = 4
    UNREACHABLE = 5
    DAMAGED = 6
    REPAIRED = 7
    INTERRUPTED = 130


#: What each means; also the text of ``--help``.
MEANINGS = {
    Exit.OK: "it is done",
    Exit.FAILED: "it was refused, or went wrong",
    Exit.USAGE: "the command line or the configuration is wrong",
    Exit.NOT_FOUND: "there is no such export, volume or snapshot",
    Exit.BUSY: "somebody has it: a gateway, clients, readers of a snapshot, or a clone",
    Exit.UNREACHABLE: "the gateway, or the store, cannot be reached",
    Exit.DAMAGED: "what the store holds is damaged",
    Exit.REPAIRED: "there was damage, and it is repaired",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}

_BY_CAUSE = {
    Cause.BAD_REQUEST: Exit.USAGE,
    Cause.NOT_FOUND: Exit.NOT_FOUND,
    Cause.BUSY: Exit.BUSY,
    Cause.FENCED: Exit.BUSY,
    Cause.UNAVAILABLE: Exit.UNREACHABLE,
    Cause.CORRUPT: Exit.DAMAGED,
}

#: What storage says when it is asked without a gateway; the first that fits.
_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (ConfigurationError, Cause.BAD_REQUEST),
    (BadValue, Cause.BAD_REQUEST),
    (UnknownExport, Cause.NOT_FOUND),
    (ExportBusy, Cause.BUSY),
    (ExportUnavailable, Cause.REFUSED),
    (Fenced, Cause.FENCED),
    (Corrupt, Cause.CORRUPT),
    (NoSpace, Cause.NO_SPACE),
    (StorageError, Cause.UNAVAILABLE),
)


class Failure(Exception):
    """
    What was asked for was not done, or nobody knows.

    Attributes:
        problem: why.
        status: to exit with.
    """

    def __init__(self, problem: Problem, status: Exit | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = _BY_CAUSE.get(problem.cause, Exit.FAILED) if status is None else status


def wrong(text: str) -> Failure:
    """The command line, or a file that it names, is wrong."""
    return Failure(Problem(Cause.BAD_REQUEST, text))


def failure_of(error: Exception) -> Failure | None:
    """What an error of storage means to whoever gave the command; None for a fault of ours."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, ExportUnavailable) and isinstance(error.__cause__, Corrupt):
        return Failure(Problem(Cause.CORRUPT, f"{error}; `nbdgateway check` tells more"))
    for kind, cause in _CAUSES:
        if isinstance(error, kind):
            problems = getattr(error, "problems", None)
            return Failure(Problem(cause, "\n".join(problems) if problems else str(error)))
    return None
