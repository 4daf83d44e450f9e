"""What the storage wing says that a request waited for."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from backends.file.flushing import SharedFlush
from backends.file.in_flight import Entry, InFlight
from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.objects.retrying import RetryingStore
from backends.objects.s3_failures import Asked, failure
from backends.objects.s3_ids import ids_of, note_ids
from backends.objects.threaded import ThreadedStore
from backends.volume.environment import Options
from backends.volume.intake import Intake
from gateway.info import MIB
from gateway.stages import Stages, current, note, stages_of, told
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

ANSWER = {
    "ResponseMetadata": {
        "RequestId": "4442587FB7D0A2F9",
        "HostId": "vHUXn==",
        "HTTPStatusCode": 503,
    },
    "Error": {"Code": "SlowDown"},
}
IDS = {"s3_request_id": "4442587FB7D0A2F9", "s3_id_2": "vHUXn=="}


def names(answer) -> set[str]:
    """Of the stages that an answer told of."""
    stages = stages_of(answer)
    assert stages is not None, "it tells nothing"
    return set(stages.spent())


class TestVolume:
    """A volume on a store that waits for the test."""

    def setup_method(self) -> None:
        self.held = HeldStore(MemoryStore(), holds=())
        self.host = VolumeHost(self.held, Options(dirty_limit=MIB, collect=False))
        self.volume = self.host.new(64 * MIB)

    def test_an_answer_given_now_tells_nothing(self):
        """And is no `Deferred`."""
        assert self.volume.write(0, b"x" * 4096, False) is None

    def test_a_read_that_misses_waits_for_the_store(self):
        self.volume.write(0, b"x" * MIB, True)
        self.host.settle(self.volume.close())
        volume = self.host.again()
        self.held.holds = {"get"}
        read = volume.read(0, 4096)
        beside = volume.read(8192, 4096)
        self.held.answer_all()
        assert bytes(self.host.settle(read)) == b"x" * 4096
        assert "store" in names(read)
        self.host.settle(beside)
        assert names(beside) <= {"store", "shared fetch", "map", "decode"} and names(beside)

    def test_a_flush_waits_for_sealing_and_for_the_store(self):
        self.volume.write(0, b"x" * 4096, False)
        self.held.holds = {"put"}
        flush = self.volume.flush()
        assert isinstance(flush, Deferred)
        self.held.answer(error=Transient("503"))
        self.host.clock.advance(1.0)
        self.held.answer_all()
        self.host.settle(flush)
        assert names(flush) == {"seal", "store"}
        assert stages_of(flush).notes == {"retries": 1}

    def test_a_write_without_room_waits_for_it(self):
        self.held.holds = {"put"}
        while self.volume.write(0, b"x" * MIB, False) is None:
            pass
        write = self.volume.write(0, b"y" * 512, False)
        assert isinstance(write, Deferred)
        for _ in range(20):
            self.held.answer_all()
            self.host.clock.advance(3)
        self.host.settle(write)
        assert names(write) <= {"order", "room"} and names(write)

    def test_work_in_the_background_belongs_to_no_request(self):
        """An upload goes on when whoever filled its segment was answered."""
        self.held.holds = {"put"}
        self.volume.write(0, b"x" * 4096, False)
        self.host.clock.advance(3)
        assert self.held.keys() and current() is None
        self.held.answer_all()


def test_changes_in_order_say_what_held_them_up():
    """The first one room, those behind it the order."""
    room = [False]
    intake = Intake(lambda size: room[0], lambda size: None)
    first = intake.submit(1, lambda: None)
    second = intake.submit(1, lambda: None)
    room[0] = True
    intake.go_on()
    assert (names(first), names(second)) == ({"room"}, {"order"})


def test_what_a_change_begins_when_its_turn_comes_tells_its_request():
    """The flush of a durable write that had to wait."""
    room = [False]
    intake = Intake(lambda size: room[0], lambda size: None)
    seen = []

    async def flush():
        note("s3_request_id", "a")

    durable = intake.submit(1, lambda: seen.append(current()) or told(flush()))
    room[0] = True
    intake.go_on()
    assert seen == [durable.stages]
    assert durable.stages.notes == {"s3_request_id": "a"}


def test_a_request_for_a_file_tells_of_order_and_disk():
    """Where that took long enough to matter: what is quick is not written down."""
    now = [0.0]
    threads: list[Deferred[None]] = []

    def in_thread(work) -> Deferred[None]:
        threads.append(Deferred())
        return threads[-1]

    in_flight = InFlight(in_thread, clock=lambda: now[0])
    first = Entry(0, 512, True)
    one = in_flight.run(first, [], lambda: None, lambda result: None)
    two = in_flight.run(Entry(0, 512, True), [first], lambda: None, lambda result: None)
    now[0] = 2.0
    threads[0].callback(None)
    now[0] = 5.0
    threads[1].callback(None)
    assert one.stages.spent() == {"disk": 2.0}
    assert two.stages.spent() == {"disk": 3.0, "order": 2.0}
    quick = in_flight.run(Entry(0, 512, True), [], lambda: None, lambda result: None)
    threads[2].callback(None)
    assert quick.stages.spent() == {}


def test_a_flush_of_a_file_waits_for_the_disk():
    flush = SharedFlush(lambda: Deferred())
    flush.changes = 1
    assert names(flush.flush()) == {"disk"}


def test_retries_are_counted_for_the_request_that_waits():
    """And the last failure keeps what the store called it."""
    clock = Clock()
    failures = [Transient("503"), Transient("503")]
    failures[1].ids = IDS

    class Failing:
        def get(self, key, start, length):
            return fail(failures.pop(0)) if failures else succeed(b"x")

    import random

    store = RetryingStore(Failing(), clock, random.Random(0), 60.0, 0.1, 1.0)

    async def read():
        return await store.get("a", 0, 1)

    answer = told(read())
    clock.pump([0.1] * 20)
    assert answer.result == b"x"
    assert answer.stages.notes == {"retries": 2}


def test_a_thread_tells_the_request_that_it_works_for():
    """What the store called it is known there alone."""

    class Blocking:
        def get(self, key, start, length):
            note_ids(parsed=ANSWER, model=None)
            return b""

    store = ThreadedStore(Blocking(), maybeDeferred, maybeDeferred)
    stages = Stages()
    with stages.told_of():
        store.get("a", 0, 1)
    assert stages.notes == IDS
    store.get("a", 0, 1)
    assert current() is None


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        (ANSWER, IDS),
        ({}, {}),
        ({"ResponseMetadata": {"HTTPHeaders": {"x-amz-request-id": "a"}}}, {"s3_request_id": "a"}),
        ({"Error": {"RequestId": "a\nb", "HostId": "c"}}, {"s3_request_id": "a b", "s3_id_2": "c"}),
    ],
)
def test_ids_are_found_where_stores_put_them(answer, ids):
    assert ids_of(answer) == ids


def test_a_failure_has_both_ids_in_its_text_and_as_fields():
    """Support asks for both."""
    failed = failure(ClientError(ANSWER, "GetObject"), Asked("GET", "s3://disks/log/1"), 0.0)
    assert str(failed).endswith("(request 4442587FB7D0A2F9, id 2 vHUXn==)")
    assert failed.ids == IDS
