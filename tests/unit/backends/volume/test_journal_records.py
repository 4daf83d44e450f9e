"""The journal's bytes: records and their chain, superblocks, the index of what is outstanding."""

from __future__ import annotations

import uuid
from dataclasses import replace

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume.journal_index import RecordIndex
from backends.volume.journal_loss import describe, sum_up
from backends.volume.journal_records import (
    DATA,
    HEAD_BYTES,
    HOLE,
    ZERO,
    Cut,
    Link,
    Record,
    encode,
    promised,
    scan,
    size_in_ring,
)
from backends.volume.journal_superblock import (
    CLEAN,
    SLOT_BYTES,
    SLOTS,
    BadSuperblock,
    Superblock,
)
from backends.volume.journal_superblock import decode as decode_superblock
from backends.volume.journal_superblock import encode as encode_superblock

VOLUME = uuid.UUID(int=7).bytes
START = Link(0, 1, 0)
ANY = Cut(1, 3)


def chain(*shapes, start=START, epoch=3, durable=0):
    """Bytes and records of a chain; shapes are (kind, sectors)."""
    image = b""
    records = []
    link = start
    for kind, sectors in shapes:
        data = bytes([link.lsn % 256]) * (sectors * 512) if kind == DATA else b""
        record = Record(epoch, link.lsn, durable, link.crc, kind, 40, sectors, 1000, data)
        head, crc = encode(VOLUME, record)
        image += (head + data).ljust(record.size, b"\0")
        records.append(replace(record, crc=crc))
        link = Link(link.position + record.size, link.lsn + 1, crc)
    return image, records


def read_from(image):
    return lambda position, length: image[position : position + length]


def found(image, link=START, cut=ANY):
    return [record for record, _ in scan(VOLUME, read_from(image), link, cut, len(image))]


shapes = st.lists(st.tuples(st.sampled_from([DATA, ZERO, HOLE]), st.integers(1, 5)), max_size=6)


@given(shapes, st.binary(max_size=2000))
def test_a_chain_is_read_as_it_was_written(shapes, behind):
    """
    Every record comes back with every field, whatever lies behind the last.
    """
    image, records = chain(*shapes)
    behind = behind.ljust(-(-len(behind) // 512) * 512, b"\0")
    assert found(image + behind) == records


@given(shapes.filter(bool), st.data())
def test_a_changed_bit_ends_the_chain_at_its_record(shapes, data):
    """
    One flipped bit in head or data: the records before it count, it and the rest do not.
    """
    image, records = chain(*shapes)
    victim = data.draw(st.integers(0, len(records) - 1))
    start = sum(record.size for record in records[:victim])
    covered = HEAD_BYTES + len(records[victim].data)
    bit = data.draw(st.integers(0, covered * 8 - 1))
    broken = bytearray(image)
    broken[start + bit // 8] ^= 1 << bit % 8
    assert found(bytes(broken)) == records[:victim]


def test_a_torn_record_ends_the_journal():
    """
    A record of which the last sector is missing is none.
    """
    image, records = chain((DATA, 4), (DATA, 4))
    assert found(image[:-512] + bytes(512)) == records[:1]
    assert found(image[:-512]) == records[:1]


def test_a_record_of_another_lap_is_no_successor():
    """
    A whole record with another number, or behind another record, does not count.
    """
    image, records = chain((DATA, 1), (ZERO, 8))
    other, _ = chain((ZERO, 8), start=Link(records[0].size, 2, records[0].crc ^ 1))
    older, _ = chain((ZERO, 8), start=Link(records[0].size, 9, records[0].crc))
    assert found(image[: records[0].size] + other) == records[:1]
    assert found(image[: records[0].size] + older) == records[:1]


def test_behind_the_cut_only_the_newest_epoch_counts():
    """
    Records of an earlier attachment from the cut on are what was lost of it.
    """
    image, records = chain((DATA, 1), (ZERO, 8))
    assert found(image, cut=Cut(2, 4)) == records[:1]
    assert found(image, cut=Cut(3, 4)) == records


def test_another_volumes_record_is_none():
    """
    The uuid is part of every record.
    """
    image, _ = chain((DATA, 1))
    other = uuid.UUID(int=8).bytes
    assert list(scan(other, read_from(image), START, ANY, len(image))) == []


def test_a_later_record_tells_that_a_missing_one_was_synced():
    """
    Of the records behind a gap only those count that claim what is missing.
    """
    image, records = chain((DATA, 1), (DATA, 1), (ZERO, 1), durable=1)
    gap = bytes(records[0].size) + image[records[0].size :]
    assert promised(VOLUME, read_from(gap), START, len(gap)) == 1
    image, records = chain((DATA, 1), (DATA, 1), durable=0)
    gap = bytes(records[0].size) + image[records[0].size :]
    assert promised(VOLUME, read_from(gap), START, len(gap)) == 0


@given(st.integers(0, 5000))
def test_records_are_padded_to_sectors(length):
    """
    Size in the ring: head and data, rounded up.
    """
    size = size_in_ring(length)
    assert size % 512 == 0
    assert 0 <= size - HEAD_BYTES - length < 512


numbers = st.integers(0, 2**64 - 1)
checksums = st.integers(0, 2**32 - 1)
superblocks = st.builds(
    Superblock,
    numbers,
    st.uuids(),
    st.sampled_from([1, 2]),
    numbers,
    st.builds(Link, numbers, numbers, checksums),
    st.builds(Cut, numbers, numbers),
    numbers,
    numbers,
)


@given(superblocks)
def test_superblocks_come_back_as_they_were(superblock):
    """
    One sector holds every field.
    """
    block = encode_superblock(superblock)
    assert len(block) == SLOT_BYTES
    assert decode_superblock(block) == superblock


@given(superblocks, st.integers(0, SLOT_BYTES * 8 - 1))
def test_a_changed_bit_in_a_superblock_is_seen(superblock, bit):
    """
    No bit of the sector is without a checksum.
    """
    block = bytearray(encode_superblock(superblock))
    block[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSuperblock, match="expected"):
        decode_superblock(block)


def test_superblocks_take_turns():
    """
    Two that follow each other lie in different slots.
    """
    one = Superblock(5, uuid.UUID(int=1), CLEAN, 1 << 20, START, ANY, 0, 0)
    assert {one.offset, attrs.evolve(one, sequence=6).offset} == set(SLOTS)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 3)),
            st.tuples(st.just("release"), st.integers(0, 40)),
        ),
        max_size=60,
    )
)
def test_the_index_is_a_queue(steps):
    """
    Tail, head and sums are those of a plain list of records.
    """
    tail = Link(512, 10, 99)
    index = RecordIndex(tail)
    model = []
    head = tail
    for step, number in steps:
        if step == "add":
            head = Link(head.position + size_in_ring(number * 512), head.lsn + 1, head.lsn * 7)
            index.add(head, number * 512, head.lsn * 1000)
            model.append((head, number * 512))
        else:
            index.release(number)
            while model and model[0][0].lsn <= number + 1:
                tail, _ = model.pop(0)
    assert (index.tail, index.head) == (tail, head)
    outstanding = index.outstanding(100.0)
    assert outstanding.records == len(model)
    assert outstanding.bytes == sum(length for _, length in model)
    assert outstanding.age == (100.0 - model[0][0].lsn if model else 0.0)


def test_the_index_forgets_what_was_released():
    """
    A queue that is used for long does not grow.
    """
    index = RecordIndex(START)
    for lsn in range(1, 50_000):
        index.add(Link(lsn * 512, lsn + 1, lsn), 0, lsn)
        index.release(lsn - 3)
    assert len(index._ends) < 10_000
    assert index.tail == Link(49_996 * 512, 49_997, 49_996)


def test_a_loss_is_told_exactly():
    """
    Count, bytes, epochs, times, and ranges merged where they touch.
    """
    _, records = chain((DATA, 2), (ZERO, 8), (HOLE, 4))
    records[2] = replace(records[2], sector=100, epoch=4, milliseconds=61_000)
    assert describe(sum_up(records)) == (
        "3 records are lost (1 to 3, of epoch 3, 4): 1024 bytes written and 6144 bytes zeroed or"
        " trimmed from 1970-01-01 00:00:01Z to 1970-01-01 00:01:01Z,"
        " in sectors 40-47, 100-103"
    )
    assert describe(sum_up([])) == "no records are lost"


def test_a_loss_in_very_many_places_is_one_line():
    """
    Beyond 64 ranges the text says how many there are, what they come to, and where they end.
    """
    _, records = chain(*[(ZERO, 1)] * 100)
    spread = [replace(record, sector=record.lsn * 10) for record in records]
    assert describe(sum_up(spread)).endswith(
        "640-640 and 36 ranges more with 36 sectors, up to sector 1000"
    )
