"""What zeroing costs, case by case: refused only where data would have to be fetched."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from gateway.errors import NotFast
from gateway.info import KIB, MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

SIZE = 64 * MIB
#: Where the tests zero: far from the edges, in the middle of a page of the map.
AT, LENGTH = 20 * MIB, 64 * KIB
FILL = bytes(range(1, 251)) * ((4 * LENGTH) // 250 + 1)


class Bench:
    """A volume that counts what it asks the store."""

    def __init__(self, cache=8 * MIB):
        self.store = HeldStore(MemoryStore(), holds=())
        options = Options(collect=False, upload_delay=1e9, checkpoint_delay=1e9)
        self.host = VolumeHost(store=self.store, options=options, cache=cache)
        self.volume = self.host.new(SIZE)
        self.model = bytearray(SIZE)

    def wait(self, result):
        return self.host.settle(result)

    def store_all(self):
        """Everything stored and in the map, nothing in the overlay."""
        self.wait(self.volume.flush())
        for _ in range(300):
            self.host.go_on()

    def write(self, offset, data, fua=False):
        self.model[offset : offset + len(data)] = data
        self.wait(self.volume.write(offset, data, fua))

    def zeroed(self, offset, length):
        self.model[offset : offset + length] = bytes(length)

    def prepare(self, state):
        """Bring the range, and as much before and behind it, into a state."""
        low, high = AT - LENGTH, AT + 2 * LENGTH
        if state == "hole*":
            self.write(low, FILL[: high - low])
            self.store_all()
            self.zeroed(low, high - low)
            self.wait(self.volume.trim(low, high - low, False))
        elif state in ("zero", "zero*"):
            self.zeroed(low, high - low)
            self.wait(self.volume.write_zeroes(low, high - low, False, False, False))
            if state == "zero":
                self.store_all()
        elif state in ("clean", "cold"):
            self.write(low, FILL[: high - low])
            self.store_all()
            if state == "cold":
                self.volume = self.host.again()
                for _ in range(300):
                    self.host.go_on()
        elif state == "dirty":
            self.write(low, FILL[: high - low])
        elif state == "mixed":
            self.write(low, FILL[:LENGTH])
            self.store_all()
            self.write(AT + LENGTH // 2, FILL[:LENGTH])
            self.zeroed(AT, 8192)
            self.wait(self.volume.write_zeroes(AT, 8192, False, False, False))
        self.store.calls.clear()

    def status(self, offset, length):
        """Block status, byte by byte, as runs of hole and zero."""
        found, position = [], offset
        while position < offset + length:
            for extent in self.wait(
                self.volume.extents(position, offset + length - position, False)
            ):
                size = min(extent.length, offset + length - position)
                if found and found[-1][1:] == (extent.hole, extent.zero):
                    found[-1] = (found[-1][0] + size, *found[-1][1:])
                else:
                    found.append((size, extent.hole, extent.zero))
                position += size
        return found

    def check(self):
        """The whole neighbourhood is as it should be, now and after another attachment."""
        low, length = AT - 2 * LENGTH, 5 * LENGTH
        assert self.wait(self.volume.read(low, length)) == self.model[low : low + length]
        self.wait(self.volume.flush())
        self.volume = self.host.again()
        assert self.wait(self.volume.read(low, length)) == self.model[low : low + length]


STATES = ["hole", "hole*", "zero", "zero*", "clean", "cold", "dirty", "mixed"]
HOLE, ZERO = (True, True), (False, True)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("may_trim", [True, False], ids=["trim", "no-hole"])
@pytest.mark.parametrize("state", STATES)
def test_whole_sectors_are_zeroed_at_once_in_every_state(state, may_trim, fast):
    """No request is made, nothing is waited for, and nothing is refused."""
    bench = Bench()
    bench.prepare(state)
    assert bench.volume.write_zeroes(AT, LENGTH, may_trim, False, fast) is None
    bench.zeroed(AT, LENGTH)
    assert bench.store.calls == []
    assert bench.status(AT, LENGTH) == [(LENGTH, *(HOLE if may_trim else ZERO))]
    bench.check()


@pytest.mark.parametrize("state", STATES)
def test_trimmed_sectors_are_holes_at_once(state):
    bench = Bench()
    bench.prepare(state)
    assert bench.volume.trim(AT, LENGTH, False) is None
    bench.zeroed(AT, LENGTH)
    assert bench.store.calls == [] and bench.status(AT, LENGTH) == [(LENGTH, *HOLE)]
    bench.check()


@pytest.mark.parametrize("state", STATES)
def test_trimming_leaves_the_rest_of_cut_sectors_alone(state):
    bench = Bench()
    bench.prepare(state)
    before = bench.status(AT, 512)
    assert bench.volume.trim(AT + 100, LENGTH, False) is None
    bench.zeroed(AT + 512, LENGTH - 512)
    assert bench.store.calls == []
    assert bench.status(AT, 512) == before
    assert bench.status(AT + 512, LENGTH - 512) == [(LENGTH - 512, *HOLE)]
    bench.check()


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("may_trim", [True, False], ids=["trim", "no-hole"])
@pytest.mark.parametrize("state", STATES)
def test_durable_zeroes_are_stored_before_the_answer(state, may_trim, fast):
    """Also where they change nothing that a reader sees: the hole may be younger than the flush."""
    bench = Bench()
    bench.prepare(state)
    bench.wait(bench.volume.write_zeroes(AT, LENGTH, may_trim, True, fast))
    bench.zeroed(AT, LENGTH)
    if state == "hole" and may_trim:
        assert bench.store.calls == []
    assert not any(verb == "get" for verb, _ in bench.store.calls)
    bench.volume = bench.host.again()  # the other one is killed
    assert bench.wait(bench.volume.read(AT, LENGTH)) == bytes(LENGTH)
    if state in ("hole*", "zero*", "dirty"):
        bench.check()


@pytest.mark.parametrize("state", ["hole", "hole*", "zero", "zero*"])
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("offset,length", [(7, 3), (0, 100), (300, 512), (5, 4000)])
def test_parts_of_sectors_that_are_zero_around_are_zeroed_at_once(state, fast, offset, length):
    """No data comes into being where there was none."""
    bench = Bench()
    bench.prepare(state)
    assert bench.volume.write_zeroes(AT + offset, length, True, False, fast) is None
    assert bench.store.calls == []
    assert all(zero for _, _, zero in bench.status(AT, 8192))
    bench.check()


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("state", ["clean", "dirty"])
@pytest.mark.parametrize("offset,length", [(7, 3), (0, 100), (300, 512), (5, 4000)])
def test_parts_of_sectors_in_memory_are_zeroed_at_once(state, fast, offset, length):
    bench = Bench()
    bench.prepare(state)
    assert bench.volume.write_zeroes(AT + offset, length, True, False, fast) is None
    bench.zeroed(AT + offset, length)
    assert bench.store.calls == []
    assert not bench.status(AT, 512)[0][2]
    bench.check()


@pytest.mark.parametrize("offset,length", [(7, 3), (0, 100), (300, 512), (5, 4000)])
def test_a_fast_request_does_not_fetch_the_rest_of_a_sector(offset, length):
    """It is refused at once and nothing has changed; a plain one fetches."""
    bench = Bench()
    bench.prepare("cold")
    before = bench.status(AT - LENGTH, 3 * LENGTH)
    bench.store.calls.clear()
    with pytest.raises(NotFast):
        bench.volume.write_zeroes(AT + offset, length, True, False, True)
    assert bench.store.calls == [] and bench.status(AT - LENGTH, 3 * LENGTH) == before
    later = bench.volume.write_zeroes(AT + offset, length, True, False, False)
    bench.wait(later)
    bench.zeroed(AT + offset, length)
    assert any(verb == "get" for verb, _ in bench.store.calls)
    bench.check()


def test_a_fast_request_does_not_wait_behind_others_for_the_rest_of_a_sector():
    """What waits may change that sector, so it is not at hand."""
    bench = Bench()
    bench.prepare("cold")
    bench.store.holds.add("get")
    patch = bench.volume.write(AT + 1, b"abc", False)
    assert isinstance(patch, Deferred)
    with pytest.raises(NotFast):
        bench.volume.write_zeroes(AT + 8, 16, True, False, True)
    bench.model[AT + 1 : AT + 4] = b"abc"
    bench.store.holds.clear()
    bench.store.answer_all()
    bench.check()


def test_requests_of_no_length_change_nothing():
    bench = Bench()
    bench.prepare("dirty")
    for offset in (AT, AT + 7):
        assert bench.volume.write_zeroes(offset, 0, True, False, False) is None
        assert bench.volume.trim(offset, 0, False) is None
        assert bench.volume.write(offset, b"", False) is None
    bench.check()


def test_zeroes_over_what_is_being_uploaded_win_and_so_does_the_write_after_them():
    """The last change counts, whatever order the store answers in."""
    bench = Bench()
    bench.store.holds.add("put")
    bench.write(AT, FILL[:LENGTH])
    first = bench.volume.flush()
    assert bench.volume.write_zeroes(AT, LENGTH, True, False, True) is None
    bench.zeroed(AT, LENGTH)
    second = bench.volume.flush()
    bench.write(AT + 4096, b"last" * 1024)
    third = bench.volume.flush()
    assert bench.wait(bench.volume.read(AT, LENGTH)) == bench.model[AT : AT + LENGTH]
    while bench.store.held:
        bench.store.answer(-1)
    for later in (first, second, third):
        bench.wait(later)
    bench.store.holds.clear()
    bench.check()


def _shifted_sequence(bench):
    """What a converter does with a sparse image whose extents end 512 bytes off."""
    position, cut = 0, 2 * MIB - 512
    while position < SIZE:
        length = min(cut, SIZE - position)
        later = bench.volume.write_zeroes(position, length, True, False, True)
        assert later is None
        position += length


def test_the_shifted_sequence_on_an_empty_volume_costs_nothing():
    bench = Bench()
    bench.store.calls.clear()
    _shifted_sequence(bench)
    assert bench.status(0, SIZE) == [(SIZE, *HOLE)]
    assert bench.volume.flush() is None
    assert bench.store.calls == []


def test_the_shifted_sequence_on_a_full_volume_reads_nothing():
    bench = Bench()
    for position in range(0, SIZE, 4 * MIB):
        bench.wait(bench.volume.write(position, (FILL * 17)[: 4 * MIB], False))
    bench.store_all()
    bench.wait(bench.volume.flush())
    bench.volume = bench.host.again()
    for _ in range(300):
        bench.host.go_on()
    bench.wait(bench.volume.extents(0, SIZE, False))
    bench.store.calls.clear()
    bench.store.bodies.clear()
    _shifted_sequence(bench)
    assert bench.store.calls == []
    assert bench.status(0, SIZE) == [(SIZE, *HOLE)]
    bench.wait(bench.volume.flush())
    logged = [len(body) for key, body in bench.store.bodies if "/log/" in key]
    assert sum(logged) < 4096  # headers alone
    assert bench.wait(bench.volume.read(0, MIB)) == bytes(MIB)
