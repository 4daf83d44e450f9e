"""
The ways storage fails, by kind.

Kinds are neutral: each protocol turns them into its own numbers in exactly
one function. Text says what was refused, what was got and what was expected;
it never holds a secret.
"""

from __future__ import annotations


class StorageError(Exception):
    """A request on an export failed; the base of every kind below."""


class ReadOnly(StorageError):
    """The export, or what lies under it, may not be changed."""


class NoSpace(StorageError):
    """The store is full or over its quota; the request changed at most its own range."""


class NotFast(StorageError):
    """
    Zeroing this range would not be cheaper than writing it; nothing was changed.

    To a ``fast`` request it is the refusal the client asked for; to a plain
    one it is the export's word that the caller may as well write zeroes.
    """


class Unavailable(StorageError):
    """The store did not do it: I/O error, timeout, lost connection."""


class Corrupt(StorageError):
    """What the store returned is not what was written; never retried."""


class Fenced(StorageError):
    """Another writer has taken the export over; this one is dead."""


class Closed(StorageError):
    """The export is closed or closing."""


class ExportUnavailable(Exception):
    """An export could not be opened; the text says why."""


class ExportBusy(ExportUnavailable):
    """Another process, or another export, holds what this one needs."""


class UnknownExport(Exception):
    """No export of that name is offered here."""


class ConfigurationError(Exception):
    """
    The configuration is wrong; nothing was started.

    Attributes:
        problems: every mistake found, one text each.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
