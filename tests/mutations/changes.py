"""Ways to break a volume, each of which some test has to notice."""

from __future__ import annotations

import attrs

_VOLUME = "backends/volume/"


@attrs.frozen
class Mutation:
    """
    One change of the program that breaks a promise.

    Attributes:
        name: in the table of docs/explanation/how-we-know.md.
        promise: its number there.
        file: below backends/volume.
        old, new: text that is there once, and what takes its place.
        check: a profile of the simulation and how many seeds, or a pytest node.
    """

    name: str
    promise: int
    file: str
    old: str
    new: str
    check: tuple[str, int] | str

    @property
    def path(self):
        return _VOLUME + self.file


MUTATIONS = (
    Mutation(
        "flush-before-put", 1, "committing.py",
        "        if self.idle:\n            self.last_flush = self._environment.wall()\n",
        "        self.seal()\n        if self._recent:\n",
        ("flaky", 50),
    ),
    Mutation(
        "fua-is-nothing", 1, "writing.py",
        "            self.take(start, payload)\n"
        "            return self.flush() if fua else self._recorded()\n",
        "            self.take(start, payload)\n            return self._recorded()\n",
        ("flaky", 50),
    ),
    Mutation(
        "journal-not-synced", 1, "journal_file.py",
        "        self._calls.fdatasync(self._fd)\n        if superblock",
        "        if superblock",
        ("journal", 60),
    ),
    Mutation(
        "journal-follows", 1, "journaling.py",
        "        return self.journal.handed_over()", "        return None",
        ("journal", 300),
    ),
    Mutation(
        "records-overtake", 1, "journal_handover.py",
        "        if not self.in_memory:\n            done", "        if True:\n            done",
        ("journal", 600),
    ),
    Mutation(
        "nothing-changed-nothing-waits", 1, "writing.py",
        "        def apply() -> NowOrLater[None]:\n            if start < end:\n",
        "        def apply() -> NowOrLater[None]:\n"
        "            if not fua and self._is_already(start, end, state):\n"
        "                return None\n            if start < end:\n",
        "tests/unit/backends/volume/test_replaying.py",
    ),
    Mutation(
        "journal-given-up-by-close", 1, "attachment.py",
        "        self.writer.stop()\n", "",
        ("journal", 600),
    ),
    Mutation(
        "applied-out-of-order", 2, "committing.py",
        "self._landed.pop(self._stored_slot + 1, None)) is not None",
        "self._landed.pop(min(self._landed, default=0), None)) is not None",
        ("reordering", 100),
    ),
    Mutation(
        "fence-skips-too-little", 2, "fencing.py",
        "resume = slot + WINDOW", "resume = slot + 1",
        ("takeover", 300),
    ),
    Mutation(
        "outlived-journal-replayed", 2, "journal_standing.py",
        "        return Standing.CURRENT if note.epoch <= epoch else Standing.OUTLIVED",
        "        return Standing.CURRENT",
        ("journal", 300),
    ),
    Mutation(
        "taken-slot-counts", 3, "committing.py",
        "            except Exists:\n                self._condition.fail(",
        "            except Exists:\n                self._landed[slot] = (segment, sealed)\n"
        "                self._advance()\n                return\n"
        "                self._condition.fail(",
        ("takeover", 100),
    ),
    Mutation(
        "no-second-look", 3, "superblocks.py",
        "    return all(names.parse_sb(one.key) is None for one in higher)", "    return True",
        ("takeover", 300),
    ),
    Mutation(
        "fences-swept", 3, "sweeping.py",
        "one.key, kind=Kind.DATA)", "one.key)",
        ("takeover", 300),
    ),
    Mutation(
        "trim-in-memory-only", 4, "segment.py",
        "            if state != DATA:\n                extents",
        "            if state == 1 << 62:\n                continue\n"
        "            if state != DATA:\n                extents",
        ("flaky", 50),
    ),
    Mutation(
        "zeroes-in-memory-only", 4, "segment.py",
        "            if state != DATA:\n                extents",
        "            if state == 2 << 62:\n                continue\n"
        "            if state != DATA:\n                extents",
        ("flaky", 50),
    ),
    Mutation(
        "frames-unchecked", 5, "frames.py",
        "    if computed != frame.crc:", "    if False:",
        ("rot", 100),
    ),
    Mutation(
        "headers-unchecked", 5, "header.py",
        "    if crc != computed:", "    if False:",
        "tests/unit/backends/volume/test_header.py",
    ),
    Mutation(
        "guesses-unchecked", 5, "first_reads.py",
        "        for number, plain in opened.plain.items():\n",
        "        for number in opened.failures:\n"
        "            at, length = known.header.frame_range(number, number)\n"
        "            opened.plain[number] = data[at - start : at - start + length]\n"
        "        for number, plain in opened.plain.items():\n",
        ("reading", 60),
    ),
    Mutation(
        "neighbours-misnumbered", 5, "fetching.py",
        "            self._memory.put(place, plain, asked=asked or bool(waiters))\n",
        "            number ^= not (asked or waiters)\n"
        "            place = known.identity, number\n"
        "            self._memory.put(place, plain, asked=asked or bool(waiters))\n",
        ("reading", 60),
    ),
    Mutation(
        "frames-of-whoever", 5, "frame_cache.py",
        "        frame = self.memory.get((self, key))\n",
        "        held = self.memory._frames\n"
        "        caches = (place[0] for place in held if place[1] == key)\n"
        "        frame = self.memory.get((next(caches, self), key))\n",
        ("reading", 60),
    ),
    Mutation(
        "frames-of-no-volume", 5, "known_objects.py",
        'return f"{uuid.hex()}/{source', 'return f"{len(uuid)}/{source',
        "tests/unit/backends/volume/test_fetching_at_random.py",
    ),
    Mutation(
        "last-frame-left-out", 5, "frame_runs.py",
        "numbers.update(range(sector // FRAME_SECTORS, -(-(sector + sectors) // FRAME_SECTORS)))",
        "numbers.update(range(sector // FRAME_SECTORS, (sector + sectors) // FRAME_SECTORS + 1))\n"
        "        numbers -= {max(numbers)} if len(numbers) > 1 else set()",
        ("reading", 20),
    ),
    Mutation(
        "data-got-once", 5, "fetching.py",
        "        for _ in range(2):\n", "        for _ in range(1):\n",
        ("reading", 60),
    ),
    Mutation(
        "claims-stay", 5, "fetching.py",
        "                self._coming.pop((known.identity, number), None)\n",
        "                pass\n",
        ("reading", 60),
    ),
    Mutation(
        "written-counted-twice", 6, "frame_cache.py",
        '        """For caches."""\n        self._remove(place)\n        self._written[place]',
        '        """For caches."""\n        self._written[place]',
        "tests/unit/backends/volume/test_frame_cache.py",
    ),
    Mutation(
        "no-limit", 6, "writing.py",
        "        if self._recent.held >= self._dirty_limit:\n            return False\n", "",
        "tests/unit/backends/volume/test_writing.py",
    ),
    Mutation(
        "ring-overrun", 6, "journal.py",
        "        return size_in_ring(data_bytes) <= self._space() and in_memory < GATHERED_LIMIT",
        "        return in_memory < GATHERED_LIMIT",
        "tests/unit/backends/volume/journal/test_ring.py",
    ),
    Mutation(
        "deleted-unasked", 7, "authority.py",
        "                await self._check_highest(self.superblock.generation)\n",
        "                pass\n",
        "tests/unit/backends/volume/test_authority.py",
    ),
    Mutation(
        "live-objects-swept", 7, "sweeping.py",
        "slot <= root.version and slot not in slots:", "slot <= root.version:",
        ("calm", 50),
    ),
    Mutation(
        "holes-not-carried", 7, "applying.py",
        "        carries = any(extent.kind != DATA for extent in header.extents)\n",
        "        carries = False\n",
        ("flaky", 200),
    ),
    Mutation(
        "snapshots-hold-nothing", 7, "object_table.py",
        "        if holder is not None and holder.version >= page.birth[slot]:",
        "        if False:",
        ("snapshots", 100),
    ),
    Mutation(
        "whole-log-read", 8, "fencing.py",
        "        self._start = superblock.first_slot if root is None else root.version + 1\n",
        "        self._start = superblock.first_slot\n",
        "tests/figures/test_attaching.py",
    ),
    Mutation(
        "moved-to-another-time", 9, "collecting.py",
        "            await self._move(group, version)\n",
        "            await self._move(group, version // 2)\n",
        ("flaky", 300),
    ),
    Mutation(
        "rollback-without-border", 9, "snapshots.py",
        "Rollback(border - 1, snapshot.version)", "Rollback(border, snapshot.version)",
        "tests/simulation/test_rebuilding.py",
    ),
)  # fmt: skip
