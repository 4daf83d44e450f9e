"""What every export promises: the sentences of `gateway.interfaces.IExport` as tests.

An implementation joins by a subclass of `ExportContract` with a ``lab``
fixture that yields a `Lab`.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from gateway.errors import Closed, NotFast
from gateway.info import ExportInfo
from gateway.interfaces import IExport

SIZE = 1024 * 1024 + 512
#: Places where something may be cut: in a sector, a page, a 64 KiB block, at the ends.
EDGES = [0, 1, 511, 512, 4095, 4096, 65535, 65536, 131072, 200000, SIZE - 513, SIZE - 1, SIZE]


class Lab:
    """
    Makes exports and waits for their answers.

    Args:
        make: answers with a fresh export of `SIZE` bytes that nobody wrote to.
        go_on: lets time pass or threads work, once.
        reopen: answers with the export that holds what a closed one held;
            None if nothing outlives closing.
        zeroes: the export answers plain and fast zeroes otherwise than by
            `NotFast`.
        stored: of an export, offset and length, the bytes as they lie in its
            store; None if it has none.
    """

    def __init__(self, make, go_on=lambda: None, reopen=None, zeroes=True, stored=None):
        self.make = make
        self.go_on = go_on
        self.reopen = reopen
        self.zeroes = zeroes
        self.stored = stored

    def settle(self, result):
        """The answer, also if it comes later; failures are raised."""
        if not isinstance(result, Deferred):
            return result
        answers = []
        result.addBoth(answers.append)
        for _ in range(1000):
            if answers:
                break
            self.go_on()
        (answer,) = answers
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer

    def read(self, export, offset, length):
        """The bytes, by whichever of the two ways answers."""
        data = bytearray(length)
        if not export.read_into(offset, memoryview(data)):
            data = self.settle(export.read(offset, length))
            assert len(data) == length
        if self.stored is not None:
            assert data == self.stored(export, offset, length)
        return bytes(data)

    def zero(self, export, offset, length, may_trim=True, fua=False, fast=False):
        """Zero as the gateway does: what a plain request is refused is written."""
        try:
            result = export.write_zeroes(offset, length, may_trim, fua, fast)
        except NotFast:
            if fast:
                raise
            result = export.write(offset, bytes(length), fua)
        self.settle(result)

    def extents(self, export, offset=0, length=None, first_only=False):
        """Extents as tuples of length, hole, zero, after checking what holds for all."""
        length = export.info.size - offset if length is None else length
        found = self.settle(export.extents(offset, length, first_only))
        assert found
        assert all(extent.length > 0 for extent in found)
        assert all(extent.zero for extent in found if extent.hole)
        assert offset + sum(extent.length for extent in found) <= export.info.size
        assert sum(extent.length for extent in found[:-1]) < length
        for left, right in zip(found, found[1:], strict=False):
            assert (left.hole, left.zero) != (right.hole, right.zero)
        if first_only:
            assert len(found) == 1
        return [(extent.length, extent.hole, extent.zero) for extent in found]


class ExportContract:
    """Every test makes an export of its own."""

    @pytest.fixture
    def export(self, lab):
        export = lab.make()
        yield export
        lab.settle(export.close())

    def test_it_provides_the_interface(self, export):
        """
        An export has every method of the law, with its arguments.
        """
        assert verifyObject(IExport, export)

    def test_its_facts_are_lawful(self, export):
        """
        Sizes and blocks are within the bounds that `ExportInfo` states.
        """
        info = export.info
        assert isinstance(info, ExportInfo)
        assert info.size == SIZE
        assert info.minimum_block in [1 << n for n in range(17)]
        assert info.size % info.minimum_block == 0
        assert info.preferred_block >= 512
        assert info.preferred_block & (info.preferred_block - 1) == 0

    @pytest.mark.parametrize("offset", [0, 1, 65535, SIZE - 1000])
    def test_what_was_never_written_reads_as_zeroes(self, lab, export, offset):
        """
        A fresh export is all zeroes.
        """
        assert lab.read(export, offset, 1000) == bytes(1000)
        assert bytes(lab.settle(export.read(offset, 1000))) == bytes(1000)

    def test_reading_into_a_buffer_is_all_or_nothing(self, lab, export):
        """
        True means that every byte of the buffer was filled; False leaves `read` to do it.
        """
        lab.settle(export.write(100, b"x" * 5000, False))
        buffer = bytearray(b"?" * 5002)
        if export.read_into(99, memoryview(buffer)):
            assert buffer == b"\0" + b"x" * 5000 + b"\0"
        assert bytes(lab.settle(export.read(99, 5002))) == b"\0" + b"x" * 5000 + b"\0"

    @pytest.mark.parametrize("fua", [False, True])
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    @pytest.mark.parametrize("start", EDGES[:-1])
    def test_a_write_changes_its_range_and_nothing_else(self, lab, export, start, kind, fua):
        """
        Any offset and length, any buffer, with or without durability, to the byte.
        """
        lab.settle(export.write(0, b"a" * SIZE, False))
        end = min(start + 70001, SIZE)
        lab.settle(export.write(start, kind(b"b" * (end - start)), fua))
        expected = b"a" * start + b"b" * (end - start) + b"a" * (SIZE - end)
        assert lab.read(export, 0, SIZE) == expected

    @pytest.mark.parametrize("may_trim", [False, True])
    @pytest.mark.parametrize("fua", [False, True])
    @pytest.mark.parametrize("fast", [False, True])
    def test_zeroing_reaches_its_range_and_nothing_else(self, lab, export, may_trim, fua, fast):
        """
        Whatever the flags and the edges; a fast request may be refused and then changes nothing.
        """
        for start in EDGES[:-1:2]:
            end = min(start + 70001, SIZE)
            lab.settle(export.write(0, b"a" * SIZE, False))
            expected = b"a" * start + bytes(end - start) + b"a" * (SIZE - end)
            try:
                lab.zero(export, start, end - start, may_trim, fua, fast)
            except NotFast:
                assert fast
                expected = b"a" * SIZE
            assert lab.read(export, 0, SIZE) == expected

    def test_a_refused_fast_zero_is_refused_now(self, lab, export):
        """
        `NotFast` is raised by the call itself: a fast request's later answer is not `NotFast`.
        """
        lab.settle(export.write(0, b"a" * SIZE, False))
        for start, length in [(0, SIZE), (4096, 4096), (1, 1), (4095, 2)]:
            for may_trim in (True, False):
                with suppress(NotFast):
                    result = export.write_zeroes(start, length, may_trim, False, True)
                    lab.settle(_not_late(result))

    def test_fast_zeroes_on_an_untouched_disk_succeed(self, lab, export):
        """
        What is known to read as zeroes is zeroed fast, at any alignment, by every export.
        """
        for start, length in [(0, SIZE), (512, 4096), (1, 1), (4095, 70000)]:
            lab.settle(export.write_zeroes(start, length, True, False, True))
        assert lab.read(export, 0, SIZE) == bytes(SIZE)

    @pytest.mark.parametrize("fua", [False, True])
    def test_what_is_trimmed_reads_as_zeroes_or_as_before(self, lab, export, fua):
        """
        Trimming never reaches outside its range; inside, each byte is old or zero, for good.
        """
        if not export.info.abilities.trim:
            pytest.skip("this export does not trim")
        for start in EDGES[:-1:2]:
            end = min(start + 70001, SIZE)
            lab.settle(export.write(0, b"a" * SIZE, False))
            lab.settle(export.trim(start, end - start, fua))
            found = lab.read(export, 0, SIZE)
            assert found[:start] == b"a" * start
            assert found[end:] == b"a" * (SIZE - end)
            assert set(found[start:end]) <= set(b"a\0")
            assert lab.read(export, 0, SIZE) == found

    def test_a_fresh_disk_is_one_extent(self, lab, export):
        """
        An untouched export says so in one extent that reads as zeroes.
        """
        ((length, _, zero),) = lab.extents(export)
        assert length == SIZE
        assert zero

    def test_extents_after_a_write(self, lab, export):
        """
        What was written counts as data; around it the zeroes are still known.
        """
        lab.settle(export.write(131072, b"a" * 65536, False))
        found = lab.extents(export)
        assert [length for length, _, _ in found] == [131072, 65536, SIZE - 196608]
        assert found[1] == (65536, False, False)

    def test_extents_start_anywhere_and_the_first_alone_can_be_had(self, lab, export):
        """
        Offsets need no alignment; ``first_only`` gives the first extent.
        """
        lab.settle(export.write(131072, b"a" * 65536, False))
        assert lab.extents(export, 131073, 10, True)[0][1:] == (False, False)
        (first,) = lab.extents(export, 1, SIZE - 1, True)
        assert first[0] == 131071
        assert lab.extents(export, SIZE - 1, 1)[0][0] == 1

    def test_extents_after_zeroing(self, lab, export):
        """
        After zeroes that may trim: a hole or known zeroes. Provisioned ones are no hole.
        """
        if not lab.zeroes:
            pytest.skip("this export leaves zeroes to be written")
        lab.settle(export.write(0, b"a" * SIZE, False))
        lab.zero(export, 65536, 65536)
        assert lab.extents(export, 65536, 65536) == [(65536, True, True)]
        lab.zero(export, 131072, 65536, may_trim=False)
        assert lab.extents(export, 131072, 65536) == [(65536, False, True)]
        lab.zero(export, 65536, 65536, may_trim=False)
        assert lab.extents(export, 65536, 131072) == [(131072, False, True)]

    def test_zeroes_over_a_hole_can_be_provisioned(self, lab, export):
        """
        Zeroing that may not trim turns a hole into something else, though both read alike.
        """
        lab.zero(export, 0, 65536, may_trim=False)
        assert not lab.extents(export, 0, 65536)[0][1]
        assert lab.read(export, 0, 65536) == bytes(65536)

    def test_flush_answers(self, lab, export):
        """
        Flushing is allowed at any time, also with nothing to do, also twice at once.
        """
        lab.settle(export.flush())
        lab.settle(export.write(0, b"a", False))
        first, second = export.flush(), export.flush()
        lab.settle(second)
        lab.settle(first)
        lab.settle(export.flush())

    def test_cache_changes_nothing(self, lab, export):
        """
        Prefetching is a hint and leaves the bytes alone.
        """
        lab.settle(export.write(0, b"a" * 4096, False))
        lab.settle(export.cache(0, SIZE))
        assert lab.read(export, 0, 4097) == b"a" * 4096 + b"\0"

    def test_requests_without_length_answer(self, lab, export):
        """
        A length of 0 is nothing to do, at the end as well.
        """
        for offset in (0, 5, SIZE):
            assert bytes(lab.settle(export.read(offset, 0))) == b""
            lab.settle(export.write(offset, b"", False))
            lab.settle(export.write(offset, b"", True))
            lab.settle(export.write_zeroes(offset, 0, True, True, True))
            lab.settle(export.trim(offset, 0, True))
            lab.settle(export.cache(offset, 0))

    def test_closing_twice_is_allowed_and_ends_everything(self, lab):
        """
        After `close` every other call raises `Closed`, now.
        """
        export = lab.make()
        lab.settle(export.write(0, b"a" * 10, False))
        first, second = export.close(), export.close()
        lab.settle(second)
        lab.settle(first)
        lab.settle(export.close())
        for call in [
            lambda: export.read_into(0, memoryview(bytearray(1))),
            lambda: export.read(0, 1),
            lambda: export.write(0, b"a", False),
            lambda: export.write_zeroes(0, 1, True, False, False),
            lambda: export.trim(0, 1, False),
            export.flush,
            lambda: export.extents(0, 1, False),
            lambda: export.cache(0, 1),
        ]:
            with pytest.raises(Closed):
                lab.settle(call())

    def test_closing_waits_for_what_is_under_way(self, lab):
        """
        Requests handed in before `close` are answered, not dropped.
        """
        export = lab.make()
        results = [export.write(n * 4096, b"a" * 4096, n % 2 == 0) for n in range(20)]
        results.append(export.read(0, SIZE))
        closing = export.close()
        for result in results:
            lab.settle(result)
        lab.settle(closing)

    def test_what_was_written_outlives_closing(self, lab):
        """
        An export that keeps its bytes has them, and their zeroes, when it is opened again.
        """
        if lab.reopen is None:
            pytest.skip("nothing outlives this export")
        export = lab.make()
        lab.settle(export.write(0, b"a" * 200000, False))
        lab.zero(export, 65536, 65536)
        lab.settle(export.close())
        again = lab.reopen()
        try:
            expected = b"a" * 65536 + bytes(65536) + b"a" * 68928 + bytes(SIZE - 200000)
            assert lab.read(again, 0, SIZE) == expected
            offset = 0
            for length, _, zero in lab.extents(again):
                assert not zero or not any(expected[offset : offset + length])
                offset += length
        finally:
            lab.settle(again.close())

    def test_overlapping_writes_land_in_the_order_they_came(self, lab, export):
        """
        The last of many writes that overlap is what is read, however they are answered.
        """
        results = [export.write(n * 100, bytes([n]) * 5000, n % 3 == 0) for n in range(40)]
        for result in reversed(results):
            lab.settle(result)
        expected = bytearray(SIZE)
        for n in range(40):
            expected[n * 100 : n * 100 + 5000] = bytes([n]) * 5000
        assert lab.read(export, 0, SIZE) == expected

    def test_a_read_among_writes_is_not_torn(self, lab, export):
        """
        A read that overlaps a write sees each block of 512 bytes whole, old or new.
        """
        lab.settle(export.write(0, b"a" * SIZE, False))
        writing = export.write(0, b"b" * SIZE, False)
        reading = export.read(0, SIZE)
        data = bytes(lab.settle(reading))
        lab.settle(writing)
        for start in range(0, SIZE, 512):
            assert data[start : start + 512] in (b"a" * 512, b"b" * 512)

    def test_it_equals_a_row_of_bytes(self, lab):
        """
        Random requests, several under way at once, leave what they leave in a bytearray;
        extents that claim zeroes tell the truth.
        """
        settings(max_examples=20, deadline=None)(given(data=st.data())(_compare))(lab=lab)


def _compare(lab, data):
    """One run of random requests, against the model."""
    export = lab.make()
    model = bytearray(SIZE)
    unanswered = []
    try:
        for _ in range(data.draw(st.integers(1, 25))):
            start, end = sorted(data.draw(st.tuples(_places, _places)))
            kind = data.draw(_kinds)
            if kind == "write":
                fill = data.draw(st.integers(0, 255))
                payload = bytes([fill]) * (end - start)
                unanswered.append(export.write(start, payload, data.draw(st.booleans())))
                model[start:end] = payload
            elif kind == "zero":
                may_trim, fua, fast = data.draw(_three_flags)
                try:
                    result = export.write_zeroes(start, end - start, may_trim, fua, fast)
                except NotFast:
                    continue
                unanswered.append(result)
                model[start:end] = bytes(end - start)
            else:
                for result in unanswered:
                    lab.settle(result)
                unanswered = []
            if kind == "trim" and export.info.abilities.trim:
                lab.settle(export.trim(start, end - start, data.draw(st.booleans())))
                found = lab.read(export, start, end - start)
                assert all(new in (0, old) for new, old in _changed(found, model[start:end]))
                model[start:end] = found
            elif kind == "read":
                assert lab.read(export, start, end - start) == model[start:end]
            elif kind == "flush":
                lab.settle(export.flush())
            elif kind == "extents" and start < end:
                offset = start
                for length, _, zero in lab.extents(export, start, end - start):
                    assert not zero or not any(model[offset : offset + length])
                    offset += length
        for result in unanswered:
            lab.settle(result)
        assert lab.read(export, 0, SIZE) == model
    finally:
        lab.settle(export.close())


_places = st.sampled_from(EDGES) | st.integers(0, SIZE)
_kinds = st.sampled_from(["write", "write", "zero", "zero", "trim", "read", "flush", "extents"])
_three_flags = st.tuples(st.booleans(), st.booleans(), st.booleans())


def _changed(new, old):
    """Pairs of bytes that differ; few calls of Python even for long ranges."""
    return [(a, b) for a, b in zip(new, old, strict=True) if a != b][:1000]


def _not_late(result):
    """A result whose failure, if any, is not `NotFast`."""

    def check(failure):
        assert not failure.check(NotFast)
        return failure

    return result.addErrback(check) if isinstance(result, Deferred) else result
