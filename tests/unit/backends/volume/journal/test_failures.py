"""The journal: a disk that fails, or has no room for it."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from backends.volume.journal_records import DATA
from gateway.errors import ExportUnavailable, Unavailable
from tests.doubles.journal_bench import SMALL, answer, stamp


@pytest.mark.parametrize("name", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_after_a_failed_sync_every_later_one_fails(later, name, number):
    """
    The kernel tells of a lost page once; the journal goes on saying it. Writers do not hang.
    """
    journal = later.adopted()
    later.calls.failures[name] = number
    journal.append(DATA, 0, 1, stamp(1))
    first = journal.sync()
    journal.append(DATA, 0, 1, stamp(2))
    second = journal.sync()
    handed_over = journal.handed_over()
    room = journal.when_room()
    later.threads.drain()
    for failed in (first, second):
        with pytest.raises(Unavailable, match=os.strerror(number)):
            answer(failed)
    assert room.called
    assert handed_over is None or handed_over.called
    assert journal.handed_over() is None
    later.calls.failures.clear()
    assert journal.append(DATA, 0, 1, stamp(3)) == 3
    assert journal.room(journal.largest)
    with pytest.raises(Unavailable, match=os.strerror(number)):
        answer(journal.sync())
    assert later.threads.waiting == []
    with pytest.raises(Unavailable, match=os.strerror(number)):
        answer(journal.close(True))


def test_lack_of_space_is_found_when_the_journal_is_made(bench):
    """
    Space is set aside at once; what does not fit leaves nothing behind.
    """
    bench.calls.failures["posix_fallocate"] = errno.ENOSPC
    with pytest.raises(ExportUnavailable, match=f"no space for its {SMALL} bytes"):
        bench.open()
    assert os.listdir(os.path.dirname(bench.path)) == []


def test_an_unfinished_journal_is_made_anew(bench):
    """
    A process killed while it made the journal leaves another name, and nothing else.
    """
    with open(f"{bench.path}.unfinished", "wb") as file:
        file.write(b"half")
    assert list(bench.open().replay(0)) == []
    assert os.listdir(os.path.dirname(bench.path)) == ["journal"]


def test_the_file_is_private_and_of_full_size(bench):
    """
    0600, all blocks allocated.
    """
    bench.open()
    status = os.stat(bench.path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == SMALL
    assert status.st_blocks * 512 >= SMALL


def test_a_link_is_not_followed(bench, tmp_path):
    """
    Nobody makes the journal write elsewhere.
    """
    os.symlink(tmp_path / "other", bench.path)
    with pytest.raises(ExportUnavailable, match="journal"):
        bench.open()
    assert not os.path.exists(tmp_path / "other")
