"""Which journals may be replayed over a volume."""

from __future__ import annotations

import pytest

from backends.volume.journal_standing import NotCurrent, Standing, check, standing
from backends.volume.superblock import JournalNote, Superblock
from gateway.errors import ExportUnavailable

CURRENT, STORED, OUTLIVED, AHEAD = Standing


def superblock(epoch, note=None, state="open"):
    """A volume taken over for the ``epoch``-th time; ``note`` is the epoch of the journal owed."""
    return Superblock(
        volume=bytes(16),
        generation=epoch,
        epoch=epoch,
        writer=bytes(16),
        size=4096,
        created_ms=1,
        written_ms=1,
        state=state,
        journal=None if note is None else JournalNote("host", note, 0, 1),
    )


@pytest.mark.parametrize(
    ("why", "epoch", "records", "volume", "expected"),
    [
        ("a new journal", 0, False, superblock(1), CURRENT),
        ("left by a crash", 3, True, superblock(3, note=3), CURRENT),
        ("others tried to open, and were refused", 3, True, superblock(4, note=3), CURRENT),
        ("crashed between adoption and its note", 5, True, superblock(5, note=3), CURRENT),
        ("closed", 3, False, superblock(3, state="closed"), CURRENT),
        ("closed, then used without a journal", 3, False, superblock(9), CURRENT),
        ("a crash while it was closed", 3, True, superblock(3, state="closed"), STORED),
        ("somebody accepted the loss", 3, True, superblock(4), OUTLIVED),
        ("and closed", 3, True, superblock(4, state="closed"), OUTLIVED),
        ("and has a journal elsewhere", 3, True, superblock(5, note=5), OUTLIVED),
        ("empty, and one elsewhere", 3, False, superblock(5, note=5), CURRENT),
        ("the bucket was restored", 7, True, superblock(5, note=5), AHEAD),
        ("the bucket was restored, nothing in it", 7, False, superblock(5), STORED),
    ],
)
def test_a_journal_is_told_by_its_epoch_and_the_note(why, epoch, records, volume, expected):
    """Replaying what the volume has outlived would bring old blocks back."""
    assert standing(epoch, records, volume) is expected, why


def test_what_is_not_current_has_to_be_put_away():
    """The refusal says which it is."""
    check("j", 3, True, superblock(3, note=3), False)
    with pytest.raises(NotCurrent, match="journal j: the journal is of epoch 3") as refused:
        check("j", 3, True, superblock(4), False)
    assert refused.value.standing is OUTLIVED
    with pytest.raises(NotCurrent) as refused:
        check("j", 3, True, superblock(3, state="closed"), False)
    assert refused.value.standing is STORED


def test_a_store_older_than_its_journal_is_refused_unless_the_loss_is_accepted():
    """Somebody may have brought the wrong copy back."""
    with pytest.raises(ExportUnavailable, match="Was it brought back from a copy") as refused:
        check("j", 7, True, superblock(5), False)
    assert not isinstance(refused.value, NotCurrent)
    with pytest.raises(NotCurrent) as put_away:
        check("j", 7, True, superblock(5), True)
    assert put_away.value.standing is OUTLIVED
