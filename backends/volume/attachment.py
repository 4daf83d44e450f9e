"""One writer's hold on a volume: the parts that work together while it is open."""

from __future__ import annotations

import attrs
from twisted.logger import Logger

from backends.volume.applying import Applier
from backends.volume.authority import Authority
from backends.volume.checkpointing import Checkpointer
from backends.volume.collecting import Collector
from backends.volume.committing import Committer
from backends.volume.condition import Condition
from backends.volume.environment import Environment, Options
from backends.volume.fetching import Fetcher
from backends.volume.journaling import Journaling
from backends.volume.lineage import Lineage
from backends.volume.reading import Reader
from backends.volume.recent import Recent
from backends.volume.stored_map import StoredMap
from backends.volume.writing import Writer
from gateway.errors import Closed, StorageError
from gateway.info import MIB


@attrs.define(eq=False)
class Attachment:
    """
    The parts of an open volume; `backends.volume.attaching` puts them together.
    """

    _log = Logger()

    environment: Environment
    options: Options
    condition: Condition
    lineage: Lineage
    authority: Authority
    recent: Recent
    stored: StoredMap
    fetcher: Fetcher
    reader: Reader
    committer: Committer
    applier: Applier
    writer: Writer
    checkpointer: Checkpointer
    collector: Collector
    journaling: Journaling | None = None
    detaching: bool = False

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.authority.superblock.size

    async def settle(self) -> None:
        """
        Bring everything that was answered into the map.

        Raises:
            StorageError: the store does not take it.
        """
        flushed = self.committer.flush()
        if flushed is not None:
            await flushed
        await self.applier.caught_up(self.committer.next_slot)

    async def border(self) -> int:
        """
        Bring everything that was answered into the map, and behind it an object of no content.

        Returns:
            The slot of that object, unless somebody wrote meanwhile: the map's version.

        Raises:
            StorageError: the store does not take it.
        """
        await self.settle()
        self.recent.insist()
        await self.settle()
        return self.stored.state.version

    async def detach(self) -> None:
        """
        Make everything durable and let go.

        Raises:
            StorageError: the store did not take it; everything is let go all
                the same, and a journal keeps what it has.
        """
        # What waits for room was not answered, and comes too late: nothing changes behind `last`.
        self.writer.stop()
        self.detaching = True
        self.tell_how_far()
        await self.collector.stop()
        try:
            if self.condition.failure is None:
                await self.settle()
                await self.checkpointer.last()
            elif not self.committer.idle:
                raise self.condition.error()
        except StorageError as failure:
            if self.journaling is None:
                raise
            self._log.error("left in the journal, for the next time: {why}", why=str(failure))
        finally:
            self.checkpointer.stop()
            if self.journaling is not None:
                await self.journaling.journal.close(True)
            self.condition.fail(Closed("the volume is closed"))
            self.environment.tell("")

    def tell_how_far(self) -> None:
        """What closing the volume is busy with."""
        if self.detaching and self.condition.failure is None:
            held = self.recent.held / MIB
            self.environment.tell(f"storing {held:.1f} MiB" if held else "storing its map")
