"""Two gateways fight for one volume: one owner at a time, and nothing that it flushed is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from threading import Event, Thread

import pytest

from tests.crash.served import Served, content
from tests.crash.stamping_writer import ZONES, Ledger, StampingWriter
from tests.service.twistd import PATIENCE, until
from tests.wire_format import FLUSH, FUA, WRITE

pytestmark = pytest.mark.timeout(600)

Serve = Callable[..., Served]

KEYS = "object_size = 256K\ndirty_limit = 4M\nupload_delay = 0.1\ncheckpoint_delay = 0.2\n"


class Owner:
    """
    A gateway that has just taken the volume over, and a client that writes without end.

    Attributes:
        observed: what the volume held then.
        ledger: of what was written since.
        writer: runs in a thread of its own.
    """

    def __init__(self, gateway: Served, random: Random) -> None:
        self.gateway = gateway
        gateway.serve()
        self._client = gateway.open()
        self.observed = content(self._client, ZONES)
        self.ledger = Ledger()
        self.ledger.start_anew(self.observed)
        self.writer = StampingWriter(self._client, self.ledger, random, 8, may_fail=True)
        self._enough = Event()
        self._thread = Thread(target=self._write)
        self._failure: BaseException | None = None
        self._thread.start()

    def _write(self) -> None:
        try:
            assert self.writer.write_until(self._enough.is_set)
        except BaseException as failure:
            self._failure = failure

    def rest(self) -> None:
        """No more requests; every answer has come."""
        self._enough.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def check_that_it_is_out(self) -> None:
        """Neither a flush nor a write with FUA succeeds."""
        with self.gateway.connect() as client:
            answers = [
                client.call(WRITE, 0, data=bytes(512)),
                client.call(FLUSH),
                client.call(WRITE, 0, flags=FUA, data=bytes(512)),
            ]
        assert all(answer.error for answer in answers[1:]), answers

    def leave(self) -> None:
        """The client goes; again: no effect."""
        self.rest()
        self._client.connection.close()


def test_a_volume_goes_back_and_forth_under_load(served: Serve) -> None:
    """
    Ten times the other gateway takes over while a client writes through the first one. What it
    finds is explained by what the first one answered, and the first one answers no flush more.
    """
    random = Random(3)
    gateways = [served("one", KEYS), served("two", KEYS)]
    with ExitStack() as stack:
        owner = Owner(gateways[0], random)
        stack.callback(owner.leave)
        for turn in range(1, 11):
            flushed = owner.writer.flushed
            until(lambda: owner.writer.flushed > flushed + 3, "flushes")  # noqa: B023
            successor = Owner(gateways[turn % 2], Random(turn))
            stack.callback(successor.leave)
            until(lambda: owner.writer.failed > 0, "a failure")  # noqa: B023
            owner.leave()
            owner.check_that_it_is_out()
            owner.ledger.branch.check_crash(successor.observed)
            assert not successor.gateway.alarms()
            if turn % 4 < 2:
                owner.gateway.kill()
            else:
                owner.gateway.stop()
            owner = successor
        owner.rest()
        assert owner.writer.failed == 0
        assert owner.writer.flush()
        owner.gateway.kill()
        owner.gateway.serve()
        with owner.gateway.connect() as client:
            owner.ledger.branch.check_crash(content(client, ZONES))
