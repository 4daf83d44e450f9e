"""Killed processes leave coroutines that never end; what their ``finally`` says is not news."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_modifyitems(items):
    """A coroutine that is collected may await once more in its ``finally``; that is no failure."""
    for item in items:
        if "tests/simulation" in item.nodeid:
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )


@pytest.fixture(autouse=True)
def the_dead_are_collected(logged_failures):
    """What a run itself logs it reports itself; what comes behind it is of the dead."""
    yield
    # What is closed by one collection may leave more for the next.
    for _ in range(10):
        if not gc.collect():
            break
    logged_failures.take()
