"""What the command's exit statuses mean, and the failures that lead to them."""

from __future__ import annotations

from enum import IntEnum

from gateway.admin.wire import Cause, Problem


class Exit(IntEnum):
    """An exit status."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    BUSY = 4
    UNREACHABLE = 5


#: What each means; also the text of ``--help``.
MEANINGS = {
    Exit.OK: "it is done",
    Exit.FAILED: "it was refused, or went wrong",
    Exit.USAGE: "the command line or the configuration is wrong",
    Exit.NOT_FOUND: "there is no such export or snapshot",
    Exit.BUSY: "somebody uses it: clients, readers of a snapshot, or a clone",
    Exit.UNREACHABLE: "the gateway, or the export's store, cannot be reached",
}

_BY_CAUSE = {
    Cause.BAD_REQUEST: Exit.USAGE,
    Cause.NOT_FOUND: Exit.NOT_FOUND,
    Cause.BUSY: Exit.BUSY,
    Cause.UNAVAILABLE: Exit.UNREACHABLE,
}


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
