"""One failure told to several who wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from gateway.errors import StorageError


def fail_all(waiters: Iterable[Deferred[Any]], failure: Exception) -> None:
    """Each gets an exception of its own where that can be: it is noted in it where it came by."""
    for waiter in waiters:
        # What is no failure of storage may be made of more than its text.
        is_text = isinstance(failure, StorageError)
        waiter.errback(type(failure)(*failure.args) if is_text else failure)
