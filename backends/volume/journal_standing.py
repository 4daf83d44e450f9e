"""Whether a journal that was found belongs to what the volume is now."""

from __future__ import annotations

from enum import Enum, auto

from backends.volume.superblock import Superblock
from gateway.errors import ExportUnavailable


class Standing(Enum):
    """What a journal is to the volume that is about to be taken over."""

    #: Its records, if it has any, go on where the store ends.
    CURRENT = auto()
    #: Everything in it is in the store.
    STORED = auto()
    #: The volume went on without its records; nobody may replay them.
    OUTLIVED = auto()
    #: The store holds an older state of the volume than the one the journal goes on from.
    AHEAD = auto()


class NotCurrent(ExportUnavailable):
    """
    The journal at hand must not be replayed; nothing was changed.

    Attributes:
        standing: `Standing.STORED` or `Standing.OUTLIVED`: whoever opened the
            journal may put it away and come back with a new one.
    """

    def __init__(self, standing: Standing, text: str) -> None:
        super().__init__(text)
        self.standing = standing


def standing(epoch: int, has_records: bool, superblock: Superblock) -> Standing:
    """
    What a journal is to a volume.

    The superblock has a note of the journal's epoch for as long as the store
    may lack records. It goes when the attachment that wrote them is closed,
    and then the superblock is of that very epoch; or when somebody takes the
    volume over without them.

    Args:
        epoch: of the attachment that used the journal last; 0 for a new journal.
        has_records: that were not released.
        superblock: the volume's newest, before it is taken over.
    """
    if epoch > superblock.epoch:
        return Standing.AHEAD if has_records else Standing.STORED
    if not has_records:
        return Standing.CURRENT
    note = superblock.journal
    if note is not None:
        return Standing.CURRENT if note.epoch <= epoch else Standing.OUTLIVED
    # Closing writes the superblock first and empties the journal then.
    is_closed = superblock.state == "closed" and superblock.epoch == epoch
    return Standing.STORED if is_closed else Standing.OUTLIVED


def check(
    path: str, epoch: int, has_records: bool, superblock: Superblock, accept_loss: bool
) -> None:
    """
    Refuse a journal that must not be replayed; arguments as for `standing`.

    Args:
        path: of the journal.
        accept_loss: go on without a journal that is ahead of the store.

    Raises:
        NotCurrent: it has to be put away.
        ExportUnavailable: it is ahead of the store.
    """
    found = standing(epoch, has_records, superblock)
    if found is Standing.CURRENT:
        return
    where = f"the journal is of epoch {epoch}, the volume of epoch {superblock.epoch}"
    if found is Standing.AHEAD:
        if not accept_loss:
            raise ExportUnavailable(
                f"journal {path}: {where}: the store holds an older state of the volume than the"
                " journal goes on from. Was it brought back from a copy? Look for the newer"
                " state, or set accept_loss = yes to go on from the older one"
            )
        found = Standing.OUTLIVED
    raise NotCurrent(found, f"journal {path}: {where}: its records are not of this volume's state")
