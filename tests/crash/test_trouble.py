"""A store that refuses, dawdles, hangs up or contradicts itself: its guests notice nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.crash.places import InBucket
from tests.crash.s3_server import S3Process
from tests.crash.served import MIB, Served, content
from tests.crash.stamping_writer import ZONES, Ledger, StampingWriter
from tests.interop.clients import Clients

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

Trouble = dict[str, Any]

#: What happens to requests; a silence of 3 s is more than the gateway's patience of 2 s.
TROUBLES: dict[str, Trouble] = {
    "refuses": {"fault": "slow_down", "chance": 0.3},
    "is silent": {"fault": "late", "seconds": 3.0, "chance": 0.03},
    "hangs up": {"fault": "reset", "chance": 0.05},
    "hangs up when it is done": {"fault": "applied_then_reset", "chance": 0.05},
    "does it and denies it": {"fault": "applied_then_500", "chance": 0.1},
}

KEYS = "object_size = 256K\ndirty_limit = 4M\nupload_delay = 0.1\ncheckpoint_delay = 0.2\n"


@pytest.fixture
def gateway(
    directory: Path, s3_server: S3Process, request: pytest.FixtureRequest
) -> Iterator[Served]:
    """In front of an empty bucket; impatient."""
    bucket = f"trouble-{abs(hash(request.node.name)):x}"
    impatient = "connect_timeout = 2\nread_timeout = 2\n"
    served = Served(directory, InBucket(s3_server, bucket, directory, impatient), KEYS)
    served.serve()
    yield served
    s3_server.heal()
    served.stop()


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_guests_do_not_notice_a_troubled_store(
    clients: Clients, gateway: Served, s3_server: S3Process, trouble: Trouble
) -> None:
    """fio verifies what it wrote, an image goes in and out; also with a gateway started anew."""
    s3_server.fail(**trouble, seed=1)
    clients.run(
        "fio",
        "--name=load",
        "--ioengine=nbd",
        f"--uri={gateway.uri}",
        "--rw=randrw",
        "--bsrange=4k-64k",
        "--iodepth=16",
        "--offset=32m",
        "--size=8m",
        "--fsync=32",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--thread",
    )
    picture = clients.directory / "picture.raw"
    picture.write_bytes(Random(1).randbytes(8 * MIB) + bytes(24 * MIB))
    clients.run("nbdcopy", "--flush", picture, gateway.uri)
    assert not gateway.alarms()
    gateway.kill()
    gateway.serve()
    clients.run("nbdcopy", gateway.uri, "copy.raw")
    copied = (clients.directory / "copy.raw").read_bytes()
    assert copied[: 32 * MIB] == picture.read_bytes()
    assert not gateway.alarms()


def test_a_stall_of_the_whole_store_is_waited_for(gateway: Served, s3_server: S3Process) -> None:
    """Every request is silent for longer than any attempt lasts; then the store goes on."""
    ledger = Ledger()
    with gateway.connect() as client:
        writer = StampingWriter(client, ledger, Random(2), 8)
        writer.write(200)
        s3_server.fail("late", seconds=3.0, times=12)
        writer.write(400)
        assert writer.flush()
    assert not gateway.alarms()


def test_nothing_is_left_over_when_every_put_is_done_and_denied(
    gateway: Served, s3_server: S3Process
) -> None:
    """Each put is found to be the gateway's own; a kill later it is all there, and once."""
    ledger = Ledger()
    s3_server.fail("applied_then_500", "PUT", chance=0.3, seed=3)
    with gateway.connect() as client:
        writer = StampingWriter(client, ledger, Random(4), 8)
        assert writer.write(300)
        assert writer.flush()
    gateway.kill()
    gateway.serve()
    with gateway.connect() as client:
        ledger.branch.check_crash(content(client, ZONES))
    assert not gateway.alarms()
