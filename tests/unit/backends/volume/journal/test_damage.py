"""The journal: what is damaged is found, and told from an end."""

from __future__ import annotations

import os

import pytest

from backends.volume.journal_file import JournalDamaged
from backends.volume.journal_records import DATA
from backends.volume.journal_superblock import RING, SLOTS
from gateway.errors import Corrupt
from tests.doubles.journal_bench import SMALL, answer, stamp


def spoil(path, offset, length=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in old))


def filled(bench, count=4):
    """Records of 1,024 bytes in the ring, each synced for itself."""
    journal = bench.adopted()
    for lsn in range(1, count + 1):
        journal.append(DATA, lsn, 1, stamp(lsn))
        answer(journal.sync())
    answer(journal.close(False))


@pytest.mark.parametrize("slot", SLOTS)
def test_one_bad_superblock_is_no_loss(bench, slot):
    """
    The other one leads to every record.
    """
    filled(bench)
    spoil(bench.path, slot + 30)
    assert [record.lsn for record in bench.open().replay(0)] == [1, 2, 3, 4]


def test_two_bad_superblocks_are_refused(bench):
    """
    The text says where and what to do; nothing is made anew.
    """
    filled(bench)
    for slot in SLOTS:
        spoil(bench.path, slot + 30)
    with pytest.raises(JournalDamaged, match="byte 0: .*byte 4096: .*move the file away"):
        bench.open()


def test_a_synced_record_that_is_damaged_is_no_end(bench):
    """
    A later record tells that it was synced: the journal is refused, not cut short.
    """
    filled(bench)
    spoil(bench.path, RING + 1024 + 500)
    with pytest.raises(JournalDamaged, match=rf"record 2 at byte {RING + 1024} .*up to 3 were"):
        bench.open()


def test_damage_behind_the_last_sync_of_a_clean_close(bench):
    """
    The superblock of the close tells of the very last record.
    """
    journal = bench.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    answer(journal.close(True))
    spoil(bench.path, RING + 500)
    with pytest.raises(JournalDamaged, match="record 1 .* up to 1 were"):
        bench.open()


def test_a_file_cut_short_is_refused(bench):
    """
    With both sizes.
    """
    filled(bench)
    os.truncate(bench.path, SMALL - 4096)
    with pytest.raises(JournalDamaged, match=f"{SMALL - 4096} bytes, expected {SMALL}"):
        bench.open()


def test_a_record_that_went_bad_after_the_open_is_told(bench):
    """
    Replay ends with an error, not early.
    """
    filled(bench)
    journal = bench.open()
    spoil(bench.path, RING + 1024 + 500)
    with pytest.raises(Corrupt, match="record 2"):
        list(journal.replay(0))


def test_what_an_earlier_process_left_in_memory_is_not_believed(bench):
    """
    Pages are synced and dropped before anything is read.
    """
    filled(bench)
    bench.calls.calls.clear()
    bench.open()
    assert bench.calls.calls == ["fdatasync", "drop"]
