"""Requests that took long."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from gateway.slow import SlowOperations
from gateway.stages import CLIENT, Stages


def tell(slow: SlowOperations, seconds: float, stages: Stages | None = None) -> list[Any]:
    """The events that a request of that long makes."""
    with capturedLogs() as events:
        slow.answered(seconds, stages, "read", 4096, 512, export="vm1", connection=7)
    return events


def test_a_slow_request_is_one_line_with_the_stage_that_was_slow() -> None:
    """And with what the store calls the request."""
    stages = Stages()
    stages.add("disk cache", 0.1)
    stages.add("store", 0.7)
    stages.notes.update(s3_request_id="4442587FB7D0A2F9", retries=2)
    (event,) = tell(SlowOperations(0.5, Clock().seconds), 0.8, stages)
    assert formatEvent(event) == (
        "slow read at 4096, 512 bytes of vm1, s3_request_id 4442587FB7D0A2F9, retries 2: "
        "800.0 ms, store 700.0 ms, disk cache 100.0 ms"
    )
    fields = {name: value for name, value in event.items() if not name.startswith("log_")}
    assert fields == {
        "op": "read",
        "offset": 4096,
        "length": 512,
        "export": "vm1",
        "connection": 7,
        "ms": 800.0,
        "stage": "store",
        "stages": "store 700.0 ms, disk cache 100.0 ms",
        "stages_ms": {"store": 700.0, "disk cache": 100.0},
        "s3_request_id": "4442587FB7D0A2F9",
        "retries": 2,
        "more": " at 4096, 512 bytes of vm1, s3_request_id 4442587FB7D0A2F9, retries 2",
    }


def test_what_is_fast_enough_is_no_line() -> None:
    """Nor is anything, with a threshold of 0."""
    assert tell(SlowOperations(0.5, Clock().seconds), 0.499) == []
    assert tell(SlowOperations(0.0, Clock().seconds), 100.0) == []


def test_a_client_that_takes_its_time_is_not_slowness() -> None:
    """A long read waits for its reader between chunks."""
    stages = Stages()
    stages.add(CLIENT, 60.0)
    stages.add("store", 0.1)
    assert tell(SlowOperations(0.5, Clock().seconds), 60.2, stages) == []
    (event,) = tell(SlowOperations(0.1, Clock().seconds), 60.2, stages)
    assert (event["ms"], event["stages_ms"]) == (200.0, {"store": 100.0})


def test_storage_that_tells_nothing_is_named_as_such() -> None:
    """A provider of a third party."""
    (event,) = tell(SlowOperations(0.5, Clock().seconds), 2.0)
    assert (event["stage"], event["stages_ms"]) == ("unknown", {})


def test_what_began_before_the_request_counts_only_for_its_time() -> None:
    """An upload that a flush found under way."""
    stages = Stages()
    stages.add("store", 9.0)
    (event,) = tell(SlowOperations(0.5, Clock().seconds), 1.0, stages)
    assert event["stages_ms"] == {"store": 1000.0}


def test_a_store_that_hangs_does_not_fill_the_log() -> None:
    """Twenty lines in ten seconds, and then how many there were not."""
    clock = Clock()
    slow = SlowOperations(0.5, clock.seconds)
    assert sum(len(tell(slow, 1.0)) for _ in range(1000)) == 20
    clock.advance(10)
    (event,) = tell(slow, 1.0)
    assert event["untold"] == 980
