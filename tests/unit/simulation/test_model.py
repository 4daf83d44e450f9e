"""The model that volumes are compared with: what it allows after a crash, and what it refuses."""

from __future__ import annotations

from itertools import count

import pytest

from tests.simulation.model import Branch, Wrong, Zones, payload

SIZE = 8192


class Disk:
    """A branch of 16 sectors, and ways to say what is on the disk."""

    def __init__(self):
        self.branch = Branch(Zones([(0, SIZE)]), bytes(SIZE), count(1).__next__)

    def write(self, number, offset, length=512, answered=True, **more):
        change = self.branch.submit("write", number, offset, length, **more)
        if answered:
            self.branch.answer(change, True)
        return change

    def flush(self):
        self.branch.flush_done(self.branch._moment())

    def shows(self, *changes):
        """What the disk holds after these changes alone: of (number, offset, length)."""
        image = bytearray(SIZE)
        for number, offset, length in changes:
            image[offset : offset + length] = payload(number, offset, length)
        return image


@pytest.fixture
def disk():
    return Disk()


def refused(disk, *changes, check="check_crash"):
    with pytest.raises(Wrong) as wrong:
        getattr(disk.branch, check)(disk.shows(*changes))
    return str(wrong.value)


def test_what_was_flushed_must_be_there(disk):
    """A flush that was answered ends all freedom of what was answered before it."""
    disk.write(1, 0)
    disk.flush()
    disk.branch.check_crash(disk.shows((1, 0, 512)))
    assert "change 1" not in refused(disk).splitlines()[0]


def test_what_was_not_flushed_may_be_lost(disk):
    """Without a flush the last changes may be missing."""
    disk.write(1, 0)
    disk.write(2, 512)
    disk.branch.check_crash(disk.shows())
    disk.branch.check_crash(disk.shows((1, 0, 512)))
    disk.branch.check_crash(disk.shows((1, 0, 512), (2, 512, 512)))


def test_what_was_answered_must_be_there_when_only_the_process_died(disk):
    """A journal keeps it, and what was not answered may be there as well."""
    disk.write(1, 0)
    disk.write(2, 512, answered=False)
    disk.branch.check_crash(disk.shows((1, 0, 512)), kept=True)
    disk.branch.check_crash(disk.shows((1, 0, 512), (2, 512, 512)), kept=True)
    disk.branch.check_crash(disk.shows())
    with pytest.raises(Wrong, match="sector 0 holds zeroes"):
        disk.branch.check_crash(disk.shows(), kept=True)


def test_what_shows_is_a_prefix(disk):
    """A later change without an earlier one is refused, wherever the two lie."""
    disk.write(1, 0)
    disk.write(2, 4096)
    assert "sector 0 holds zeroes" in refused(disk, (2, 4096, 512))


def test_changes_under_way_together_have_no_order(disk):
    """Of two that overlapped in time either may be lost."""
    first = disk.write(1, 0, answered=False)
    disk.write(2, 4096)
    disk.branch.answer(first, True)
    disk.branch.check_crash(disk.shows((2, 4096, 512)))
    disk.branch.check_crash(disk.shows((1, 0, 512)))


def test_a_write_is_there_whole_or_not_at_all(disk):
    """Half of a write is refused, unless it has failed."""
    change = disk.write(1, 0, 1024, answered=False)
    refused(disk, (1, 0, 512))
    disk.branch.answer(change, False)
    disk.branch.check_crash(disk.shows((1, 0, 512)))


def test_a_durable_write_needs_no_flush(disk):
    """FUA that was answered must be there."""
    disk.write(1, 0, durable=True)
    refused(disk)


def test_what_nobody_wrote_is_refused(disk):
    """Foreign bytes are found, and so is what was there before."""
    disk.write(1, 0)
    disk.flush()
    disk.write(2, 0)
    disk.flush()
    assert "change 1 of sector 0" in refused(disk, (1, 0, 512))
    assert "change 7 of sector 1" in refused(disk, (2, 0, 512), (7, 512, 512))


def test_a_read_shows_what_was_answered_before_it(disk):
    """A read that was handed in later may not show less."""
    disk.write(1, 0)
    asked = disk.branch._moment()
    disk.write(2, 0, answered=False)
    disk.branch.check_read(0, payload(1, 0, 512), asked)
    disk.branch.check_read(0, payload(2, 0, 512), asked)
    with pytest.raises(Wrong):
        disk.branch.check_read(0, bytes(512), asked)


def test_without_the_journal_only_the_order_counts(disk):
    """Whoever accepts the loss of a journal gets a prefix, not older than what the store has."""
    disk.branch.journaled = True
    disk.write(1, 0)
    disk.branch.stored_done(disk.branch._moment())
    disk.write(2, 512, durable=True)
    disk.write(3, 1024)
    disk.flush()
    disk.branch.check_loss(disk.shows((1, 0, 512)))
    disk.branch.check_loss(disk.shows((1, 0, 512), (2, 512, 512)))
    refused(disk, check="check_loss")
    refused(disk, (1, 0, 512), (3, 1024, 512), check="check_loss")


def test_a_lost_journal_may_have_had_what_came_from_it(disk):
    """What was replayed and not stored since is lost with the journal, in order."""
    disk.branch.journaled = True
    disk.write(1, 0)
    disk.write(2, 512)
    later = Disk()
    later.branch = Branch(
        disk.branch.zones, disk.shows((1, 0, 512), (2, 512, 512)), disk.branch._moment
    )
    later.branch.journaled, later.branch.before = True, disk.branch
    later.write(3, 1024)
    later.branch.check_loss(later.shows((1, 0, 512)))
    later.branch.check_loss(later.shows((1, 0, 512), (2, 512, 512), (3, 1024, 512)))
    refused(later, (2, 512, 512), check="check_loss")
    refused(later, (1, 0, 512), (3, 1024, 512), check="check_loss")


def test_folding_changes_nothing(disk):
    """A long history is shortened by what is durable."""
    for number in range(1, 300):
        disk.write(number, number % 16 * 512)
        disk.flush()
    assert len(disk.branch.log) < 250
    disk.branch.check_crash(bytes(disk.branch.newest))
    refused(disk)
