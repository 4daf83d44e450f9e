"""A journal carries what the store could not take: through kills, and to nobody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.crash.places import Place
from tests.crash.served import MIB, Served, content
from tests.crash.stamping_writer import ZONES, Ledger, StampingWriter

pytestmark = pytest.mark.timeout(400)

Serve = Callable[..., Served]

KEYS = (
    "durability = journal\njournal_size = 128M\nobject_size = 256K\ndirty_limit = 32M\n"
    "upload_delay = 0.05\n"
)


@pytest.mark.parametrize("seed", range(2))
def test_what_was_answered_without_the_store_is_there_when_the_store_is_back(
    served: Serve, place: Place, seed: int
) -> None:
    """The gateway is killed while the store is away; the last writes were not even flushed."""
    gateway, ledger = served("one", KEYS), Ledger()
    gateway.serve()
    with gateway.connect() as client:
        writer = StampingWriter(client, ledger, Random(seed), 8)
        writer.write(100)
        place.cut()
        writer.write(200)
        assert writer.flush()
        writer.write(30)
        gateway.kill()
    place.join()
    gateway.serve()
    with gateway.connect() as client:
        ledger.branch.check_crash(content(client, ZONES), kept=True)


def test_what_was_answered_is_there_after_a_clean_end_without_the_store(
    served: Serve, place: Place
) -> None:
    """SIGTERM leaves in the journal what the store does not take."""
    gateway, ledger = served("one", KEYS + "flush_deadline = 1\n"), Ledger()
    gateway.serve()
    with gateway.connect() as client:
        writer = StampingWriter(client, ledger, Random(7), 8)
        writer.write(100)
        place.cut()
        writer.write(100)
        assert writer.flush()
    gateway.stop()
    assert "left in the journal, for the next time" in gateway.text()
    place.join()
    gateway.serve()
    with gateway.connect() as client:
        ledger.branch.check_crash(content(client, ZONES))
    gateway.stop()
    assert not gateway.alarms()


def test_another_machine_is_refused_and_a_journal_that_was_given_up_tells_what_was_lost(
    served: Serve, place: Place
) -> None:
    """`accept_loss = yes` goes on without it; its records are counted, kept, and not replayed."""
    first, second = served("one", KEYS), served("two", KEYS)
    first.serve()
    with first.connect() as client:
        client.write(0, b"\1" * MIB)
    first.stop()
    first.serve()
    place.cut()
    with first.connect() as client:
        client.write(MIB, b"\2" * 4096)
        client.done(6, 0, 65536)
        client.done(3)
    first.kill()
    place.join()

    refusal = second.begin().wait_for("export vm1 is not open.*|.*accept_loss = yes.*").group()
    assert "may be in the journal of host" in refusal
    assert "Open the volume there, or set accept_loss = yes" in refusal
    second.stop()

    second.keys = KEYS + "accept_loss = yes\n"
    second.serve()
    with second.connect() as client:
        assert client.read(0, MIB + 4096) == b"\1" * MIB + bytes(4096)
        client.write(0, b"\3" * 512, flags=1)
    second.stop()
    assert not second.alarms()

    before = journals(first)
    first.serve()
    told = first.process.wait_for(".*The journal is kept as (?P<kept>.+) and not used.*")  # type: ignore[union-attr]
    assert '"level": "critical"' in told.group()
    assert re.search(r"2 records are lost \(\d+ to \d+, of epoch \d+\)", told.group())
    assert "4096 bytes written and 65536 bytes zeroed or trimmed" in told.group()
    assert "in sectors 0-127, 2048-2055" in told.group()
    kept = Path(told["kept"])
    assert kept.exists() and kept not in before
    assert len(journals(first)) == 2
    with first.connect() as client:
        assert client.read(0, MIB + 4096) == b"\3" * 512 + b"\1" * (MIB - 512) + bytes(4096)


def journals(gateway: Served) -> list[Path]:
    """The files of a gateway's journals."""
    return sorted((gateway.directory / "nbdgateway-state" / "journals").iterdir())
