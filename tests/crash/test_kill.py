"""
kill -9 at any moment: nothing that was flushed is lost, and what is there is a prefix.

With a journal, nothing that was answered is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.kills import Kills
from tests.crash.places import Place

#: Of each combination.
KILLS = int(os.environ.get("NBDGATEWAY_KILLS", "7"))

pytestmark = pytest.mark.timeout(300 + 20 * KILLS)


@pytest.fixture
def kills(directory: Path, place: Place, durability: str) -> Iterator[Kills]:
    made = Kills(directory, place, durability, int(os.environ.get("NBDGATEWAY_SEED", "1")))
    yield made
    made.stop()


def test_a_killed_gateway_loses_nothing_that_it_promised(kills: Kills) -> None:
    """
    Of each volume: what was flushed, and with a journal all that was answered; other
    changes are there up to some point in their order.
    """
    for _ in range(KILLS):
        kills.round()
    kills.finish()
    assert kills.counts["answered"] > 0
