"""
What a disk may hold: the plain model that a volume is compared with.

A `Branch` is the disk as one writer sees it, from its attachment on. Every
change is a `Mutation`, with the *moments* (a count of events) at which it was
handed in and answered. From these two rules follow.

A read may show, of each sector, the newest change answered before the read was
handed in, or any that was handed in later, and nothing else.

After a crash the disk holds a prefix. Let T be the moment at which the newest
change that shows was handed in. All that was answered before T must be there
whole, and so must all that was answered before the last successful flush was
handed in, and every durable write that was answered. A write that shows must
show in all of its sectors. Beyond that each sector may hold any later change.
If only the process died, and wrote a journal, all that was answered must be there.
This is stronger than the table in which each sector is judged for itself: a
disk that shows the late change and lost the early one is refused wherever the
two lie. It allows what a log does: requests that overlap in time take effect
in either order.
"""

from __future__ import annotations

from struct import pack, unpack

SECTOR = 512


def stamp(number, sector):
    """The bytes of a sector as the change of that number writes them."""
    return pack("<QQ", number, sector) * 32


def payload(number, offset, length):
    """The bytes that a change writes there; zeroes if its number is 0."""
    if not number:
        return bytes(length)
    first, last = offset // SECTOR, (offset + length - 1) // SECTOR
    data = b"".join([stamp(number, sector) for sector in range(first, last + 1)])
    return data[offset - first * SECTOR :][:length]


def is_zero(data):
    """Whether all bytes are zeroes."""
    return data.count(0) == len(data)  # much quicker than `any`


def tell(content):
    """Names for people what is in a sector."""
    if is_zero(content):
        return "zeroes"
    number, sector = unpack("<QQ", content[:16])
    if content == stamp(number, sector):
        return f"change {number} of sector {sector}"
    pieces = sorted({content[at : at + 16] for at in range(0, len(content) - 15, 16)})
    if len(pieces) <= 6:
        return "a mix of " + ", ".join(
            "change {} of sector {}".format(*unpack("<QQ", piece)) for piece in pieces
        )
    return content[:48].hex()


class Wrong(AssertionError):
    """The disk holds what it may not hold; the text says where and why."""


class Mutation:
    """
    One change.

    Attributes:
        number: of the change, unique in a run; 0 if its bytes are zeroes.
        submitted, answered: moments; None while it is not answered.
        ok: None while it is not answered, False when it failed.
        durable: asked for FUA.
        vague: a trim may leave sectors that it covers in part alone.
        image: model bytes that it puts everywhere; None if `number` tells its bytes.
    """

    __slots__ = (
        "answered", "durable", "image", "kind", "length", "number", "offset", "ok", "pieces",
        "submitted", "vague",
    )  # fmt: skip

    def __init__(self, kind, number, offset, length, durable, pieces, submitted):
        self.kind = kind
        self.number = number
        self.offset = offset
        self.length = length
        self.durable = durable
        self.pieces = pieces
        self.submitted = submitted
        self.answered = None
        self.ok = None
        self.vague = kind == "trim"
        self.image = None

    def content(self, at, start, size):
        """What it puts at the model offset ``at``, the disk's offset ``start``."""
        if self.image is not None:
            return self.image[at : at + size]
        return payload(self.number, start, size)

    def __str__(self):
        state = {None: "unanswered", True: f"answered at {self.answered}", False: "failed"}
        return (
            f"{self.kind} {self.number} of {self.offset}+{self.length}"
            f"{' fua' if self.durable else ''}, handed in at {self.submitted}, {state[self.ok]}"
        )

    def required(self, threshold, durable):
        """Whether everything that shows a change handed in at ``threshold`` shows this one."""
        return self.ok is True and (self.answered < threshold or (durable and self.durable))


class Zones:
    """
    The few parts of a disk that are written to, laid end to end: model bytes.

    Args:
        zones: of (offset, length) in bytes, sorted, in whole sectors.
    """

    def __init__(self, zones):
        self.zones = list(zones)
        self.size = sum(length for _, length in self.zones)
        self.sectors = [
            sector
            for offset, length in self.zones
            for sector in range(offset // SECTOR, (offset + length) // SECTOR)
        ]

    def pieces(self, offset, length):
        """Of the range (offset, length), what lies in zones: (model offset, length, offset)."""
        end = offset + length
        base = 0
        found = []
        for start, size in self.zones:
            low, high = max(start, offset), min(start + size, end)
            if low < high:
                found.append((base + low - start, high - low, low))
            base += size
        return found


class Branch:
    """
    The disk as one writer sees it.

    Args:
        zones: the `Zones`.
        base: model bytes that were there, durably, at the start.
        moment: gives moments: each answer is larger than the last.

    Attributes:
        newest: model bytes if every change took effect.
        log: every `Mutation` that is not in the base.
        flushed: the moment at which the newest successful flush was handed in.
        pinned: snapshots being made; while there are any, the base stays.
        stored: the moment up to which everything that was answered is in the store, not in a
            journal alone; 0 if not even the base is known to be.
        journaled: flushes are answered by a journal.
        before: the branch that goes on in this one by way of a journal; None if there is none.
    """

    def __init__(self, zones, base, moment):
        self.zones = zones
        self.base = bytes(base)
        self.newest = bytearray(base)
        self.log = []
        self.flushed = 0
        self.pinned = 0
        self.stored = 0
        self.before = None
        self.journaled = False
        self._moment = moment

    # Changes.

    def submit(self, kind, number, offset, length, durable=False):
        """
        A change is handed in.

        Args:
            kind: ``write``, ``zero``, ``trim``.
            number: of the change; 0 if its bytes are zeroes.
        """
        mutation = Mutation(
            kind,
            number,
            offset,
            length,
            durable,
            self.zones.pieces(offset, length),
            self._moment(),
        )
        self.log.append(mutation)
        for at, size, start in mutation.pieces:
            if mutation.vague:  # a guess: sectors in part are left alone
                cut = -start % SECTOR
                at, size = at + cut, max(0, (size - cut) // SECTOR * SECTOR)
            self.newest[at : at + size] = mutation.content(at, start, size)
        return mutation

    def submit_image(self, image):
        """Everything is replaced at once, durably, as by going back to a snapshot."""
        start, length = self.zones.zones[0][0], sum(self.zones.zones[-1])
        mutation = Mutation(
            "rollback",
            0,
            start,
            length - start,
            True,
            self.zones.pieces(start, length - start),
            self._moment(),
        )
        mutation.image = bytes(image)
        self.log.append(mutation)
        self.newest[:] = image
        return mutation

    def answer(self, mutation, ok):
        """A change is answered."""
        mutation.ok = ok
        mutation.answered = self._moment()

    def stored_done(self, submitted):
        """What brings everything to the store was handed in at that moment, and succeeded."""
        self.stored = max(self.stored, submitted)
        self.before = None
        self.flush_done(submitted)

    def flush_done(self, submitted):
        """A flush that was handed in at that moment succeeded."""
        self.flushed = max(self.flushed, submitted)
        if len(self.log) > 200 and not self.pinned:
            self._fold()

    # Questions.

    def check_read(self, offset, data, submitted):
        """
        Compare what a read answers now.

        Args:
            submitted: the moment at which it was handed in.

        Raises:
            Wrong.
        """
        length = len(data)
        seen = offset
        gaps = []
        for at, size, start in self.zones.pieces(offset, length):
            gaps.append((seen, start))
            seen = start + size
            part = data[start - offset : start - offset + size]
            if part != self.newest[at : at + size]:
                self._check_part(at, part, submitted)
        gaps.append((seen, offset + length))
        for start, end in gaps:
            if not is_zero(data[start - offset : end - offset]):
                raise Wrong(f"{start}+{end - start}, where nothing is ever written, is not zero")

    def check_zero(self, offset, length, submitted):
        """An extent says that the range reads as zeroes."""
        for at, size, _ in self.zones.pieces(offset, length):
            if not is_zero(self.newest[at : at + size]):
                self._check_part(at, bytes(size), submitted)

    def check_unchanged(self, offset, length, image, submitted):
        """A list of changes says that the range is as it was in ``image``, model bytes."""
        for at, size, _ in self.zones.pieces(offset, length):
            if image[at : at + size] != self.newest[at : at + size]:
                self._check_part(at, image[at : at + size], submitted)

    def freeze(self):
        """The branch as it is now, for a comparison later."""
        frozen = Branch.__new__(Branch)
        frozen.zones, frozen.base, frozen.newest = self.zones, self.base, bytes(self.newest)
        frozen.log, frozen.flushed, frozen._moment = list(self.log), self.flushed, None
        return frozen

    def check_crash(self, observed, unknown=(), floor=None, kept=False):
        """
        Compare what the disk holds after a crash or a take-over: a prefix, see above.

        Args:
            observed: model bytes.
            unknown: ranges of model bytes that could not be read: (start, end).
            floor: None, or the moment at which a snapshot was asked for: the state
                is one between that and the end of the log.
            kept: everything that was answered has to be there.

        Raises:
            Wrong.
        """
        if observed == self.newest and not unknown:
            return
        durable = floor is None
        threshold = self.flushed if durable else floor
        if durable:
            marks = [m.submitted for m in self.log if m.durable and m.ok]
            threshold = max([threshold, *marks])
        if kept:
            answers = [m.answered + 1 for m in self.log if m.ok]
            threshold = max([threshold, *answers])
        shows = {}
        histories = self._histories()
        for start, end in unknown:
            for at in range(start // SECTOR, -(-end // SECTOR)):
                histories.pop(at, None)
        observed = bytes(observed)
        self._check_untouched(observed, unknown, histories)
        contents = {at: observed[at * SECTOR : (at + 1) * SECTOR] for at in histories}
        whole = set()
        before = -1
        while threshold > before:
            before = threshold
            known = len(whole)
            for at, history in histories.items():
                floor_index = _newest_required(history, before, durable, whole)
                index = shows.get(at)
                if index is None or index < floor_index:
                    index = shows[at] = self._shown(at, history, floor_index, contents[at])
                    if index is None:
                        self._complain(at, history, floor_index, contents[at], before)
                    if index >= 0:
                        threshold = max(threshold, history[index].submitted)
                        if self._is_whole(at, history[index]):
                            whole.add(history[index])
            if len(whole) > known:
                before = -1  # once more, with what these require

    def check_loss(self, observed, unknown=()):
        """
        Compare what the disk holds when a journal was lost: still a prefix, but perhaps of what
        had happened before the journal was replayed the last time.

        Raises:
            Wrong.
        """
        try:
            self.check_crash(observed, unknown, floor=self.stored)
        except Wrong:
            if self.stored or self.before is None:
                raise
            self.before.check_loss(observed, unknown)

    # Inside.

    def _histories(self, wanted=None):
        """By sector of the model, the changes that touch it, in the order handed in."""
        histories = {}
        for mutation in self.log:
            for at, size, _ in mutation.pieces:
                first, last = at // SECTOR, (at + size - 1) // SECTOR
                if wanted is not None:
                    first, last = max(first, wanted[0]), min(last, wanted[1])
                for sector in range(first, last + 1):
                    history = histories.get(sector)
                    if history is None:
                        histories[sector] = [mutation]
                    else:
                        history.append(mutation)
        return histories

    def _check_untouched(self, observed, unknown, histories):
        if observed == self.base:
            return
        for at in range(len(self.base) // SECTOR):
            low, high = at * SECTOR, (at + 1) * SECTOR
            if at in histories or observed[low:high] == self.base[low:high]:
                continue
            if not any(start < high and end > low for start, end in unknown):
                raise Wrong(
                    f"sector {self.zones.sectors[at]} was not written to, and holds"
                    f" {tell(observed[low:high])} instead of {tell(self.base[low:high])}"
                )

    def _check_part(self, at, part, submitted):
        first, last = at // SECTOR, (at + len(part) - 1) // SECTOR
        histories = self._histories((first, last))
        for sector in range(first, last + 1):
            low, high = max(at, sector * SECTOR), min(at + len(part), (sector + 1) * SECTOR)
            found = part[low - at : high - at]
            if found == self.newest[low:high]:
                continue
            cut = slice(low - sector * SECTOR, high - sector * SECTOR)
            history = histories.get(sector, [])
            floor = _newest_required(history, submitted, False)
            if self._shown(sector, history, floor, bytes(found), cut) is None:
                self._complain(sector, history, floor, bytes(found), submitted)

    def _shown(self, at, history, floor, content, cut=slice(0, SECTOR)):
        """
        The oldest change, from ``floor`` on, that leaves this content; -1 for the base, None
        if there is none.
        """
        if floor < 0 and content == self._base(at)[cut]:
            return -1
        for index in range(max(floor, 0), len(history)):
            if content in {whole[cut] for whole in self._contents(at, history, index)}:
                return index
        return None

    def _contents(self, at, history, index):
        """What the sector may hold right after the change of that index took effect in it."""
        mutation = history[index]
        low, high = self._reach(at, mutation)
        start = self.zones.sectors[at] * SECTOR
        patch = mutation.content(at * SECTOR + low, start + low, high - low)
        if high - low == SECTOR:
            return {patch}
        below = self._contents_up_to(at, history, index - 1)
        patched = {old[:low] + patch + old[high:] for old in below}
        return patched | below if mutation.vague else patched

    def _contents_up_to(self, at, history, index):
        found = set()
        while index >= 0:
            found |= self._contents(at, history, index)
            if history[index].ok:
                return found
            index -= 1
        return found | {self._base(at)}

    def _reach(self, at, mutation):
        """The bytes of the sector that the change covers."""
        start = self.zones.sectors[at] * SECTOR
        low = max(mutation.offset, start) - start
        return low, min(mutation.offset + mutation.length, start + SECTOR) - start

    def _is_whole(self, at, mutation):
        """
        Whether a change that shows in a sector must show in all of its sectors: requests are
        there whole or not at all. Zeroes may be another's; what failed may be torn.
        """
        if not mutation.number or mutation.ok is False:
            return False
        low, high = self._reach(at, mutation)
        return high - low == SECTOR

    def _base(self, at):
        return self.base[at * SECTOR : (at + 1) * SECTOR]

    def _fold(self):
        """Everything that is durable, and that nothing older is unanswered behind, is base."""
        count = 0
        for mutation in self.log:
            partial = mutation.vague and (mutation.offset % SECTOR or mutation.length % SECTOR)
            durable = self.stored if self.journaled else self.flushed
            if not mutation.ok or mutation.answered >= durable or partial:
                break
            count += 1
        base = bytearray(self.base)
        for mutation in self.log[:count]:
            for at, size, start in mutation.pieces:
                base[at : at + size] = mutation.content(at, start, size)
        self.base = bytes(base)
        del self.log[:count]

    def _complain(self, at, history, floor, content, threshold):
        where = self.zones.sectors[at]
        lines = [f"sector {where} holds {tell(content)}; due is what was answered by {threshold}:"]
        if floor < 0:
            lines.append(f"  {tell(self._base(at))} from before")
        lines += [
            f"{'  from' if index >= floor else '  not'} {mutation}"
            for index, mutation in enumerate(history)
            if index >= floor - 3
        ]
        raise Wrong("\n".join(lines))


def _newest_required(history, threshold, durable, whole=()):
    for index in range(len(history) - 1, -1, -1):
        if history[index] in whole or history[index].required(threshold, durable):
            return index
    return -1
