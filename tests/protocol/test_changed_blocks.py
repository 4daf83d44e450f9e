"""Metadata contexts that tell what was changed since a point in time (M rows)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from backends.memory import MemoryExport
from gateway.info import Change
from tests.doubles.changed_blocks import ChangedBlocks
from tests.protocol.exports import HUGE, SIZE
from tests.protocol.servers import InMemory, Process, fresh
from tests.protocol.test_metadata import mapped, status_payload
from tests.wire import Client
from tests.wire_format import (
    BLOCK_STATUS,
    EINVAL,
    EIO,
    LIST,
    LIST_META,
    READ,
    REQ_ONE,
    SET_META,
    TOO_BIG,
    TRIM,
    WRITE_ZEROES,
    meta_data,
)

Server = InMemory | Process
MIB = 1 << 20
BASE, DEPTH = "base:allocation", "qemu:allocation-depth"
OURS, QEMUS = "x-nbdgateway:changed:", "qemu:dirty-bitmap:"
MONDAY, TUESDAY = "monday", "tues:day"


def names(replies: list[bytes]) -> list[str]:
    """Of contexts, from replies whose ids must be 0."""
    assert all(reply[:4] == bytes(4) for reply in replies)
    return [reply[4:].decode() for reply in replies]


def serve(memory: InMemory, framing: str, *references: str) -> tuple[Any, str, Client]:
    """A disk of the test's own with references, its name, and a client before any SET."""
    export = ChangedBlocks(MemoryExport(SIZE), references)
    name = fresh("mine")
    memory.source.add(name, export)
    return export, name, memory.connect().greet().agree(framing)


@pytest.mark.parametrize(
    ("queries", "found"),
    [
        ([], [BASE, DEPTH, OURS + MONDAY, QEMUS + MONDAY, OURS + TUESDAY, QEMUS + TUESDAY]),
        (["x-nbdgateway:"], [OURS + MONDAY, OURS + TUESDAY]),
        ([OURS], [OURS + MONDAY, OURS + TUESDAY]),
        (["qemu:"], [DEPTH, QEMUS + MONDAY, QEMUS + TUESDAY]),
        ([QEMUS], [QEMUS + MONDAY, QEMUS + TUESDAY]),
        ([QEMUS + TUESDAY, OURS + "sunday"], [QEMUS + TUESDAY]),
        ([QEMUS + "tues:", OURS + "m", "x-nbdgateway", "x-other:"], []),
    ],
)
def test_list_of_references(
    server: Server, framing: str, queries: list[str], found: list[str]
) -> None:
    """
    M5, M6, M24, M25: two contexts for each, in the order of storage, and both wildcards.
    """
    client = server.connect().greet().agree(framing)
    assert names(client.ack(LIST_META, meta_data("changed", *queries))) == found


def test_wildcards_select_no_reference(server: Server, chunks: str) -> None:
    """
    M6, M7, M25: only full names do; each has an id of its own.
    """
    client = server.connect().greet().agree(chunks)
    assert client.set_contexts("changed", "x-nbdgateway:", OURS, "qemu:", QEMUS) == {}
    chosen = client.set_contexts("changed", QEMUS + MONDAY, OURS + MONDAY, BASE, OURS + MONDAY)
    assert sorted(chosen.values()) == [BASE, QEMUS + MONDAY, OURS + MONDAY]
    assert not {0, 18} & set(chosen)


def test_exports_without_references_have_the_fixed_contexts(memory: InMemory, chunks: str) -> None:
    """
    M5: an export that could tell changes, but has nothing to compare with.
    """
    _, name, client = serve(memory, chunks)
    assert names(client.ack(LIST_META, meta_data(name))) == [BASE, DEPTH]


@pytest.mark.parametrize("kind", ["changed", "changed-later"])
def test_status_of_changes(server: Server, chunks: str, kind: str) -> None:
    """
    M10, M24: bit 0 where something was written, zeroed or trimmed, else 0, in both namespaces.
    """
    client = mapped(server, chunks, kind, OURS + MONDAY, QEMUS + MONDAY, QEMUS + TUESDAY, BASE)
    assert client.status(0, SIZE)[QEMUS + MONDAY] == [(SIZE, 0)]
    client.write(MIB, b"x" * 512)
    client.done(WRITE_ZEROES, 2 * MIB, 1000)
    client.done(TRIM, SIZE - 512, 512)
    found = client.status(0, SIZE)
    words = [
        (MIB, 0),
        (512, 1),
        (MIB - 512, 0),
        (1024, 1),
        (SIZE - 2 * MIB - 1536, 0),
        (512, 1),
    ]
    assert found.pop(BASE) == [(MIB, 3), (512, 0), (SIZE - MIB - 512, 3)]
    assert found == dict.fromkeys([OURS + MONDAY, QEMUS + MONDAY, QEMUS + TUESDAY], words)


@pytest.mark.parametrize("kind", ["changed", "changed-later"])
def test_status_of_one_change(server: Server, chunks: str, kind: str) -> None:
    """
    M12: REQ_ONE gives one descriptor for each context, within the range.
    """
    client = mapped(server, chunks, kind, QEMUS + MONDAY, BASE)
    client.write(MIB, b"x" * MIB)
    assert client.status(0, SIZE, REQ_ONE) == {QEMUS + MONDAY: [(MIB, 0)], BASE: [(MIB, 3)]}
    assert client.status(MIB + 512, 512, REQ_ONE) == {QEMUS + MONDAY: [(512, 1)], BASE: [(512, 0)]}


def test_changes_of_a_huge_disk_in_64_bits(server: Server) -> None:
    """
    E1, E5, M24: one descriptor reaches over all that was left alone.
    """
    client = mapped(server, "extended", "changed-huge", QEMUS + MONDAY)
    client.write(0, b"x" * 512)
    assert client.status(0, HUGE) == {QEMUS + MONDAY: [(512, 1), (HUGE - 512, 0)]}


def test_changes_of_a_huge_disk_in_32_bits(server: Server) -> None:
    """
    M15, M24: a long run is cut, aligned.
    """
    client = mapped(server, "structured", "changed-huge", QEMUS + MONDAY)
    client.write(1 << 40, b"x" * 512)
    longest = 2**32 - 65536
    assert client.status(0, 2**32 - 1)[QEMUS + MONDAY] == [(longest, 0)]
    assert client.status((1 << 40) - 512, 2**32 - 1)[QEMUS + MONDAY] == [
        (512, 0),
        (512, 1),
        (longest, 0),
    ]


@pytest.mark.parametrize("kind", ["changed", "changed-later"])
def test_status_payload_selects_among_references(server: Server, kind: str) -> None:
    """
    E4: only the contexts named are answered, and only for them storage is asked.
    """
    client = mapped(server, "extended", kind, BASE, OURS + MONDAY, QEMUS + TUESDAY)
    client.write(0, b"x" * 512)
    dirty = [(512, 1), (SIZE - 512, 0)]
    assert status_payload(client, SIZE, QEMUS + TUESDAY).extents == {QEMUS + TUESDAY: dirty}
    assert status_payload(client, SIZE, OURS + MONDAY, BASE).extents == {
        OURS + MONDAY: dirty,
        BASE: [(512, 0), (SIZE - 512, 3)],
    }


def test_storage_is_asked_once_for_what_two_contexts_tell(memory: InMemory, chunks: str) -> None:
    """
    M10, M24: the two names of one reference are one question; extents are asked if wanted.
    """
    export, name, client = serve(memory, chunks, MONDAY)
    client.set_contexts(name, OURS + MONDAY, QEMUS + MONDAY)
    client.go(name).status(512, 1024)
    assert export.asked == [(MONDAY, 512, 1024, False)]


def test_references_are_those_of_the_moment(memory: InMemory, chunks: str) -> None:
    """
    M4, M5: a snapshot taken while a client negotiates can be selected, a deleted one not.
    """
    export, name, client = serve(memory, chunks, MONDAY)
    assert set(client.set_contexts(name, QEMUS + MONDAY, QEMUS + "later").values()) == {
        QEMUS + MONDAY
    }
    export.remember("later")
    export.forget(MONDAY)
    assert names(client.ack(LIST_META, meta_data(name, QEMUS))) == [QEMUS + "later"]
    assert set(client.set_contexts(name, QEMUS + MONDAY, QEMUS + "later").values()) == {
        QEMUS + "later"
    }
    assert client.go(name).status(0, 512) == {QEMUS + "later": [(512, 0)]}


def test_status_since_what_is_gone_is_an_io_error(memory: InMemory, chunks: str) -> None:
    """
    M16, M24: for the whole request, whatever else it asked; the connection stays.
    """
    export, name, client = serve(memory, chunks, MONDAY, TUESDAY)
    client.set_contexts(name, BASE, QEMUS + MONDAY, QEMUS + TUESDAY)
    client.go(name)
    export.forget(MONDAY)
    answer = client.call(BLOCK_STATUS, 0, 512)
    assert (answer.error, answer.extents) == (EIO, {})
    assert client.call(READ, 0, 512).error == 0
    export.remember(MONDAY)
    assert client.status(0, 512)[QEMUS + MONDAY] == [(512, 0)]


def test_status_since_what_is_gone_leaves_other_contexts_to_a_payload(memory: InMemory) -> None:
    """
    E4, M16: who asks for what is still there gets it.
    """
    export, name, client = serve(memory, "extended", MONDAY)
    client.set_contexts(name, BASE, QEMUS + MONDAY)
    client.go(name)
    export.forget(MONDAY)
    assert status_payload(client, 512, BASE).extents == {BASE: [(512, 3)]}
    assert status_payload(client, 512, QEMUS + MONDAY).error == EIO


def test_a_selection_for_another_export_tells_no_changes(server: Server, chunks: str) -> None:
    """
    M8: references are those of one export.
    """
    client = server.connect().greet().agree(chunks)
    client.set_contexts("changed", QEMUS + MONDAY)
    assert client.go(fresh("changed")).call(BLOCK_STATUS, 0, 512).error == EINVAL


def test_storage_that_fails_to_name_references_names_none(memory: InMemory, chunks: str) -> None:
    """
    M5: the export is served all the same, and the log knows.
    """
    client = memory.connect().greet().agree(chunks)
    name = fresh("changed-buggy")
    assert names(client.ack(LIST_META, meta_data(name))) == [BASE, DEPTH]
    client.set_contexts(name, BASE)
    assert client.go(name).status(0, 512) == {BASE: [(512, 3)]}
    assert "ZeroDivisionError" in memory.take_failures()


def test_storage_that_fails_to_tell_changes(memory: InMemory, chunks: str) -> None:
    """
    C9, M16: nobody declared the failure, so it is an I/O error and a traceback in the log.
    """

    class Buggy(ChangedBlocks):
        def changed(self, *arguments: Any) -> list[Change]:
            raise ZeroDivisionError("a bug")

    memory.source.add("buggy", Buggy(MemoryExport(SIZE), [MONDAY]))
    client = memory.connect().greet().agree(chunks)
    client.set_contexts("buggy", QEMUS + MONDAY)
    assert client.go("buggy").call(BLOCK_STATUS, 0, 512).error == EIO
    assert "ZeroDivisionError" in memory.take_failures()


def test_long_lists_of_references_are_cut_but_all_can_be_selected(
    memory: InMemory, chunks: str
) -> None:
    """
    M9, M25, 0 (EXTENT_CAP): a client learns at most 1024 names with one option.
    """
    _, name, client = serve(memory, chunks, *map(str, range(2000)))
    assert len(client.ack(LIST_META, meta_data(name))) == 1024
    assert len(client.ack(LIST_META, meta_data(name, QEMUS))) == 1024
    last = QEMUS + "1999"
    assert names(client.ack(LIST_META, meta_data(name, last))) == [last]
    client.set_contexts(name, last)
    assert client.go(name).status(0, 512) == {last: [(512, 0)]}


def test_too_many_contexts_selected(memory: InMemory, chunks: str) -> None:
    """
    M4, M9: refused with an error of its own, and nothing is selected.
    """
    _, name, client = serve(memory, chunks, *map(str, range(65)))
    queries = [f"{QEMUS}{number}" for number in range(65)]
    assert client.error(SET_META, meta_data(name, *queries)) == TOO_BIG
    assert client.ack(LIST) is not None
    assert len(client.set_contexts(name, *queries[1:])) == 64
    assert client.error(SET_META, meta_data(name, *queries)) == TOO_BIG
    assert client.go(name).call(BLOCK_STATUS, 0, 512).error == EINVAL


def test_descriptors_are_shared_among_contexts(memory: InMemory, chunks: str) -> None:
    """
    0 (EXTENT_CAP), M13: selecting more contexts does not make replies longer; each goes on.
    """

    class Striped(ChangedBlocks):
        def changed(self, reference: str, offset: int, length: int, first_only: bool) -> Any:
            first, rest = divmod(offset, 512)
            assert not rest
            return [Change(512, number % 2 == 0) for number in range(first, SIZE // 512)]

    memory.source.add("striped", Striped(MemoryExport(SIZE), map(str, range(64))))
    client = memory.connect().greet().agree(chunks)
    queries = [f"{OURS}{number}" for number in range(64)]
    client.set_contexts("striped", *queries)
    client.go("striped")
    for offset in (0, 4096):
        found = client.status(offset, SIZE - offset)
        assert sorted(found) == sorted(queries)
        assert all(words == [(512, 1), (512, 0)] * 128 for words in found.values())


def test_nobody_waits_for_changes_any_more(memory: InMemory, chunks: str) -> None:
    """
    D7: a client that leaves while storage looks changes up leaves nothing behind.
    """
    client = mapped(memory, chunks, "changed-later", QEMUS + MONDAY, BASE)
    client.submit(BLOCK_STATUS, 0, 512)
    client.connection.close()
    memory.clock.advance(1)
    assert not memory.clock.getDelayedCalls()


def test_changes_equal_a_row_of_flags(memory: InMemory, chunks: str) -> None:
    """
    M11, M26: whatever is written and asked, in whatever pieces, sector by sector.
    """
    rng = random.Random(7)
    _, name, client = serve(memory, chunks, MONDAY)
    client.set_contexts(name, QEMUS + MONDAY)
    client.go(name)
    dirty = bytearray(SIZE // 512)
    for _ in range(60):
        start = rng.randrange(SIZE - 9000)
        length = rng.randrange(1, 9000)
        client.write(start, b"x" * length)
        first, last = start // 512, (start + length - 1) // 512
        dirty[first : last + 1] = b"\1" * (last + 1 - first)
        offset = rng.randrange(SIZE // 512) * 512
        wanted = min(rng.randrange(1, SIZE), SIZE - offset)
        words = client.status(offset, wanted)[QEMUS + MONDAY]
        covered = sum(run for run, _ in words)
        assert covered >= wanted or len(words) == 1 << 14
        position = offset
        for run, word in words:
            stop = position + run
            assert set(dirty[position // 512 : -(-stop // 512)]) == {word}
            position = stop
