"""A machine for each page, and whom it can reach there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs import machine as machines
from tests.docs.machine import Machine


@pytest.fixture
def machine() -> Iterator[Callable[..., Machine]]:
    """Makes machines; they end with the test. The path leaves room for that of a socket."""
    if not machines.usable():
        if os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"):
            pytest.fail("no namespaces can be made here")
        pytest.skip("no namespaces can be made here")
    made: list[Machine] = []

    with tempfile.TemporaryDirectory(prefix="gw") as place:

        def make(*more: Any) -> Machine:
            directory = Path(place, "reader")
            directory.mkdir(exist_ok=True)
            made.append(Machine(directory, *more))
            return made[-1]

        yield make
        for one in made:
            one.close()
