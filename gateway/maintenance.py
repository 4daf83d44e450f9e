"""
The law of volumes at rest: what an operator can do with one that no gateway has to serve.

A provider whose exports are volumes gives an `IVolumePlace` for settings, or for
the address of a store. What changes a volume through a place takes it over
first, as a gateway would, and is refused while somebody else holds it.
Conventions are those of `gateway.interfaces`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from gateway.info import SnapshotInfo
from gateway.interfaces import IExport, IVolumeProvider, Resources

#: Told how far work is: what is done, what there is to do (None if nobody knows), and of what:
#: ``bytes`` or ``objects``. Called often; whoever shows it leaves most of it out.
Progress = Callable[[int, "int | None", str], None]


@dataclass(frozen=True, slots=True)
class Owner:
    """
    Who holds a volume, or held it last.

    Attributes:
        host: name of the machine.
        process: its number there.
        since: seconds since 1970, by that machine's clock.
        epoch: of the volume, which only that process writes in.
        alive: whether the process runs; None where that cannot be told from here.
    """

    host: str
    process: int
    since: float
    epoch: int
    alive: bool | None


@dataclass(frozen=True, slots=True)
class VolumeDescription:
    """
    A volume, as its newest superblock tells it; nothing else is asked for.

    Attributes:
        name: where it lies in its store, as ``prefix`` of an export says it.
        uuid: 32 hexadecimal digits.
        size: of the disk, in bytes.
        created: seconds since 1970.
        description: for people.
        compression: ``off``, ``zstd`` or ``lz4``; of what is written from now on.
        encrypted: a key is needed.
        features: names of what a reader must know.
        epoch, generation: of the superblock.
        in_use: somebody holds it open, as far as can be told from here: a process that is known
            to have died does not, one of which nothing is known does. See ``owner``.
        owner: None for a volume that was never opened.
        journal_host: the machine whose journal may hold writes that the store has not; None
            if there is none.
        parent: the name of the volume that it is a clone of; None if it is none.
        snapshots: the oldest first.
        closed: whoever had it last closed it; else the next who opens it reads its log as well.
        deleting: it was half deleted; all that can be done is to go on with that.
    """

    name: str
    uuid: str
    size: int
    created: float
    description: str
    compression: str
    encrypted: bool
    features: tuple[str, ...]
    epoch: int
    generation: int
    in_use: bool
    owner: Owner | None
    journal_host: str | None
    parent: str | None
    snapshots: tuple[SnapshotInfo, ...]
    closed: bool = True
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotUsage:
    """
    What one snapshot costs.

    Attributes:
        data: bytes of the disk that were data in it.
        unique: bytes in the store that deleting this snapshot alone would free.
    """

    name: str
    data: int
    unique: int


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What a volume takes in its store, all in bytes but for ``objects`` and ``requests``.

    Attributes:
        size: of the disk.
        data: of the disk that are data; ``zero``, ``hole``: the rest.
        live: bytes of data, before compression, that the disk refers to in objects of its own.
        inherited: the same in objects of volumes that it was cloned from.
        stored: all its objects in the store.
        stored_data: of these, those that hold data of the disk; the rest are maps and superblocks.
        dead: bytes of data in objects of its own that nothing refers to any more and the
            collector has not given back.
        objects: how many objects there are.
        orphans: bytes of objects that crashes left behind, in ``stored`` as well.
        requests: to the store, that it took to find this out.
        snapshots: the oldest first.
    """

    size: int
    data: int
    zero: int
    hole: int
    live: int
    inherited: int
    stored: int
    stored_data: int
    dead: int
    objects: int
    orphans: int
    requests: int
    snapshots: tuple[SnapshotUsage, ...]


class Severity(Enum):
    """How bad a `Finding` is."""

    #: Bytes of the disk, or of a snapshot, cannot be read or may be wrong.
    DAMAGE = "damage"
    #: Something is wrong that nobody needs to read what is there; it can be made whole again.
    REPAIRABLE = "repairable"
    #: Space that nothing needs.
    LEAK = "leak"
    #: Nothing is wrong, and worth a look all the same.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that a check found.

    Attributes:
        object: its key in the store.
        what: is wrong: what was got and what was expected, for people.
        ranges: of the disk that are concerned, as (offset, length) in bytes; where known.
        snapshot: in which snapshot they are; None for the disk as it is now.
    """

    severity: Severity
    object: str
    what: str
    ranges: tuple[tuple[int, int], ...] = ()
    snapshot: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What a check, scrub, repair or rebuild came to.

    Attributes:
        findings: what is, or after a repair was, wrong; the worst first.
        objects: how many were looked at.
        bytes: of them that were read.
        repaired: how many findings are no more.
    """

    findings: tuple[Finding, ...]
    objects: int
    bytes: int
    repaired: int = 0

    @property
    def damaged(self) -> bool:
        """Whether bytes of the disk are concerned."""
        return any(one.severity is Severity.DAMAGE for one in self.findings)


@dataclass(frozen=True, slots=True)
class StoreTrait:
    """
    One thing that a store can or cannot do.

    Attributes:
        name: as ``allow_unsafe`` calls it, for what can be allowed.
        works: None if it could not be found out.
        needed: a volume is refused without it.
        seen: what was done, and what came of it.
    """

    name: str
    works: bool | None
    needed: bool
    seen: str


class IVolumePlace(Interface):
    """
    Where one volume lies, or may lie. Everything answers later.

    Every call raises, beside what it says, `ExportUnavailable` (also for a
    volume that needs a key, or another key) and kinds of
    `gateway.errors.StorageError`; a place with no volume in it is `UnknownExport`.
    """

    where: str = Attribute("the place, in one line, as in a message")

    def volumes() -> Deferred[list[VolumeDescription]]:
        """
        The volumes in the store at this place and in the folders below it, by name.
        One that cannot be understood is left out and logged.
        """

    def describe() -> Deferred[VolumeDescription]:
        """The volume here."""

    def create(size: int, description: str) -> Deferred[VolumeDescription]:
        """
        Make an empty volume, with the compression and the key of the settings.

        Args:
            size: of the disk, in bytes.

        Raises:
            ExportUnavailable: there is something here already, or the store is not safe.
        """

    def attach(take_over: bool) -> Deferred[IExport]:
        """
        The disk, for whoever changes it: an export that provides `IVolume`. The caller closes it.

        Args:
            take_over: although somebody else seems to hold it, who can change it no more from
                then on.

        Raises:
            ExportBusy: somebody else does; the text names the host and the process.
        """

    def read(snapshot: str | None) -> Deferred[IExport]:
        """
        The disk as it is now, or a snapshot, to be read: nothing is changed for it, whoever
        holds the volume. A snapshot provides `IChangedBlocks`. The caller closes it.

        Raises:
            UnknownExport: there is no such snapshot.
        """

    def delete(progress: Progress, take_over: bool = False) -> Deferred[int]:
        """
        Delete the volume with its snapshots, for good. What a crash leaves of it can be opened by
        nobody, and calling this again goes on with it.

        Args:
            take_over: as for `attach`.

        Returns:
            How many objects that were.

        Raises:
            ExportBusy: somebody holds it, or clones need it; the text names them.
        """

    def usage(progress: Progress) -> Deferred[Usage]:
        """What the volume takes. Nothing is changed."""

    def garbage(progress: Progress) -> Deferred[tuple[int, int]]:
        """What collecting now would do: objects to empty, and bytes of left-overs to delete."""

    def check(progress: Progress) -> Deferred[Verdict]:
        """
        Prove the volume from its objects alone: every object that is referred to is there and is
        what its name says, the map that the checkpoint tells is the one that the log tells, counts
        agree, nothing is left over. Headers and maps are read, data is not. Nothing is changed.
        """

    def repair(progress: Progress, take_over: bool = False) -> Deferred[Verdict]:
        """
        Check, and mend what is `REPAIRABLE` or a `LEAK`, and a damaged map where every object is
        there that it can be made from. Other damage stays as it is.

        Args:
            take_over: as for `attach`.

        Raises:
            ExportBusy: somebody holds the volume.
        """

    def rebuild(progress: Progress, take_over: bool = False) -> Deferred[Verdict]:
        """
        Make the map anew from data objects alone, as if no checkpoint was left, and the maps of
        snapshots as well. If the newest superblock is damaged, an older one is taken for what no
        other object tells; the verdict says so.

        Args:
            take_over: as for `attach`.

        Raises:
            ExportBusy: somebody holds the volume.
            ExportUnavailable: what else is missing, without which nothing can be rebuilt.
        """

    def scrub(progress: Progress, rate: float) -> Deferred[Verdict]:
        """
        Read every object that is referred to, whole, and verify it against its checksums.

        Args:
            rate: bytes a second at most; 0 for no bound.
        """

    def probe() -> Deferred[list[StoreTrait]]:
        """Try what the store can do; a few objects are made beside the volume and deleted again."""

    def change_keys(new: Any) -> Deferred[None]:
        """
        Have another key open the volume from now on, without touching its data.

        Args:
            new: settings like those of the place, whose key it shall be.

        Raises:
            ExportBusy: somebody holds the volume.
        """

    def close() -> Deferred[None]:
        """Let go of the store."""


class IVolumeStorage(IVolumeProvider):
    """A volume provider whose volumes can be reached at rest."""

    schemes: tuple[str, ...] = Attribute("of the URLs that mean its stores, such as ``s3``")

    def values(url: str, store: bool = False) -> Mapping[str, str]:
        """
        An address as keys of a configuration section. One of a store alone gives no ``prefix``:
        it is good for `IVolumePlace.volumes` alone, with an empty ``prefix``.

        Args:
            url: such as ``s3://bucket/folder/volume`` or ``file:///srv/objects/volume``; its query
                may hold further keys, never secrets.
            store: it is that of a store, or of a folder in it, and need not name a volume.

        Raises:
            BadValue: it is none of the provider's.
        """

    def url(settings: Any) -> str:
        """The address of what `values` would give ``settings`` for, as far as addresses tell."""

    def place(settings: Any, resources: Resources) -> IVolumePlace:
        """Where the volume of ``settings`` lies; nothing is asked of the store."""
