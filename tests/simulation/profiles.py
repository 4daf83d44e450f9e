"""Mixes of workload and misfortune."""

from __future__ import annotations

import attrs

from gateway.info import KIB, MIB
from tests.simulation import faults
from tests.simulation.faults import Faults
from tests.simulation.habits import BUSY, READING, Habits

GIB = 1024 * MIB

#: Where a disk is written to: of (offset, length), and its size. All but the first are sparse:
#: they straddle the borders of map pages (16 MiB) and of directory leaves (64 GiB).
SMALL = (256 * KIB, ((0, 256 * KIB),))
PAGES = (
    48 * MIB,
    ((0, 64 * KIB), (16 * MIB - 64 * KIB, 128 * KIB), (48 * MIB - 64 * KIB, 64 * KIB)),
)
LEAVES = (
    200 * GIB,
    (
        (16 * MIB - 32 * KIB, 64 * KIB),
        (64 * GIB - 64 * KIB, 128 * KIB),
        (200 * GIB - 64 * KIB, 64 * KIB),
    ),
)
#: Room for a few objects of many frames: around the border of a map page as well.
LARGE = (32 * MIB, ((0, 4 * MIB), (15 * MIB, 2 * MIB)))


@attrs.frozen(kw_only=True)
class Profile:
    """
    One mix.

    Attributes:
        name: as ``--profile`` takes it.
        faults: of the store, until the end of the run.
        layouts: drawn from.
        lives: attachments: fewest and most.
        operations: for each attachment: fewest and most.
        crash, takeover, close: weights of how an attachment ends.
        attach_crash: probability that an attachment is killed while it is made.
        operator: how many seconds, on average, between an operator's actions; 0 for none.
        clones: whether volumes have clones.
        errors: whether the store is so bad that requests may fail as unavailable.
        hosts: machines with journals; 0 for ``durability = store``.
        rot: probability, for each attachment, that objects are damaged meanwhile.
        habits: of clients.
        large: whether objects have many frames, and all volumes share one memory for frames,
            which does not hold them all.
        copies: probability, when a process has died, that all that is in the store is copied
            elsewhere, and used there beside what it is a copy of.
    """

    name: str
    faults: Faults
    layouts: tuple = (SMALL, PAGES, LEAVES)
    lives: tuple[int, int] = (2, 4)
    operations: tuple[int, int] = (10, 60)
    crash: int = 3
    takeover: int = 2
    close: int = 1
    attach_crash: float = 0.2
    operator: float = 0.0
    clones: bool = False
    errors: bool = True
    hosts: int = 0
    rot: float = 0.0
    habits: Habits = BUSY
    large: bool = False
    copies: float = 0.0

    @property
    def for_volumes(self):
        """Whether it asks for more than any export has."""
        return bool(self.rot or self.hosts or self.large)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="calm",
            faults=faults.CALM,
            takeover=0,
            attach_crash=0,
            operator=0.6,
            errors=False,
            lives=(1, 3),
        ),
        Profile(name="flaky", faults=faults.FLAKY, operator=0.6, errors=False),
        Profile(name="lossy", faults=faults.LOSSY, operator=2.0),
        Profile(name="reordering", faults=faults.REORDERING, operator=1.0),
        Profile(
            name="takeover",
            faults=faults.LOSSY,
            crash=1,
            takeover=6,
            close=0,
            lives=(3, 6),
            operations=(5, 30),
            attach_crash=0.3,
            operator=1.0,
        ),
        Profile(name="snapshots", faults=faults.FLAKY, operator=0.15, clones=True, lives=(2, 5)),
        Profile(
            name="journal",
            faults=faults.FLAKY,
            operator=1.0,
            errors=False,
            lives=(2, 5),
            attach_crash=0.3,
            hosts=2,
        ),
        Profile(name="rot", faults=faults.ROTTEN, operator=0.6, rot=0.7, takeover=0),
        Profile(
            name="reading",
            faults=faults.LYING,
            layouts=(LARGE,),
            lives=(2, 3),
            operations=(30, 90),
            operator=1.2,
            errors=False,
            clones=True,
            attach_crash=0.05,
            habits=READING,
            large=True,
            copies=0.6,
        ),
    )
}
