"""A bill is the sum of what is kept and what is asked, at the prices that were given."""

from __future__ import annotations

import pytest

from gateway.cli.pricing import GB, MONTH, Prices, Workload, keeping, read_prices, using
from gateway.info import KIB, MIB
from gateway.maintenance import SnapshotUsage, Usage
from gateway.settings import BadValue


def usage(**changes):
    """100 GB on the disk, 10 in a snapshot alone, 5 dead, 1 of maps, 2 left over."""
    values = {
        "size": 1 << 40,
        "data": 100 * GB,
        "zero": 0,
        "hole": (1 << 40) - 100 * GB,
        "live": 100 * GB,
        "inherited": 0,
        "stored": 118 * GB,
        "stored_data": 115 * GB,
        "dead": 5 * GB,
        "objects": 1000,
        "orphans": 2 * GB,
        "requests": 10,
        "snapshots": (SnapshotUsage("monday", 90 * GB, 10 * GB),),
    }
    return Usage(**(values | changes))


def total(items):
    """Dollars."""
    return sum(item.dollars for item in items)


def test_every_stored_byte_is_on_the_bill_once():
    """Whatever it is for."""
    assert sum(item.amount for item in keeping(usage(), Prices())) == pytest.approx(118)
    assert total(keeping(usage(), Prices(storage=1.0))) == pytest.approx(118)


def test_flushes_are_what_a_busy_disk_pays_for():
    """33 a second into the store for a month, as s3 bills them: $428, and next to nothing else."""
    bill = using(Workload(writes=2 * MIB, flushes=33), Prices())
    assert total(bill) == pytest.approx(428, rel=0.1)


def test_a_journal_makes_them_free():
    """Then objects go out when they are full, or have waited."""
    with_journal = using(
        Workload(writes=2 * MIB, flushes=33, journal=True, upload_delay=30), Prices()
    )
    assert total(with_journal) < 10


def test_with_a_journal_changes_wait_longer_by_default():
    """30 s for 2: an idle guest pays by the month."""
    (store, *_), (journal, *_) = (
        using(Workload(writes=1.0, journal=has_journal), Prices()) for has_journal in (False, True)
    )
    assert store.amount / journal.amount == pytest.approx(15, rel=0.01)


def test_a_disk_at_rest_asks_for_nothing():
    """It only lies there."""
    assert total(using(Workload(), Prices())) == 0


def test_large_writes_pay_by_the_object():
    """8 MiB each, however they are flushed."""
    (puts, _, _) = using(Workload(writes=80 * MIB, moved=0.0), Prices())
    assert puts.amount == pytest.approx(10 * MONTH * (1 + 4 / 128))


def test_reads_pay_by_the_request_and_by_what_leaves():
    """Only what no cache has."""
    bill = using(Workload(reads=64 * KIB * 10), Prices(egress=0.09))
    assert bill[1].amount == pytest.approx(10 * MONTH)
    assert bill[2].dollars == pytest.approx(64 * KIB * 10 * MONTH / GB * 0.09)


def test_prices_come_from_a_file():
    """What it does not say is as by default."""
    prices = read_prices("[prices]\nstorage = 0.006\negress=0.01\n", "wasabi.ini")
    assert prices == Prices(storage=0.006, egress=0.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("storage = 1", r"prices.ini: expected an INI file with a section \[prices\]"),
        ("[prices]\nstorrage = 1", 'storrage: unknown key, did you mean "storage"'),
        ("[prices]\nput = much", "put: got 'much', expected dollars"),
        ("[prices]\nput = -1", "put: got '-1', expected dollars"),
        ("[prices]\nput = inf", "put: got 'inf', expected dollars"),
    ],
)
def test_mistakes_in_the_file_are_named(text, said):
    """With file and key."""
    with pytest.raises(BadValue, match=said):
        read_prices(text, "prices.ini")
