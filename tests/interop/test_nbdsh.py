"""
libnbd's calls one by one: flags, chunks, contexts, several handles, bad requests.

The inner functions run in nbdsh's own interpreter, which knows ``nbd``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import MIB, Disk

pytestmark = pytest.mark.interop


def test_every_command_takes_its_flags(clients: Clients, disk: Disk) -> None:
    """FUA, NO_HOLE, FAST_ZERO, DF and CACHE, alone and together."""

    def script(h: Any) -> None:
        import nbd

        assert h.get_protocol() == "newstyle-fixed"
        assert h.get_structured_replies_negotiated()
        h.pwrite(b"\xaa" * 65536, 0, nbd.CMD_FLAG_FUA)
        h.zero(4096, 0, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
        h.zero(4096, 8192, nbd.CMD_FLAG_FAST_ZERO)
        h.zero(4096, 16384, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
        h.trim(4096, 24576, nbd.CMD_FLAG_FUA)
        h.cache(65536, 0)
        h.flush()
        expected = (bytes(4096) + b"\xaa" * 4096) * 4 + b"\xaa" * 32768
        assert h.pread(65536, 0) == expected
        assert h.pread_structured(65536, 0, lambda *_: 0, nbd.CMD_FLAG_DF) == expected

    clients.nbdsh(disk.uri, script)


def test_a_fast_zero_that_would_have_to_write_is_refused(clients: Clients, offer: NewDisk) -> None:
    """tmpfs cannot set space aside quickly: ENOTSUP, nothing changed, and without FAST done."""
    if not is_tmpfs("/dev/shm"):
        pytest.skip("/dev/shm is not a tmpfs")

    def script(h: Any) -> None:
        import nbd

        h.pwrite(b"\xaa" * 4096, 0)
        try:
            h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
        except nbd.Error as error:
            assert error.errno == "ENOTSUP"
        else:
            raise AssertionError("it was fast")
        assert h.pread(4096, 0) == b"\xaa" * 4096
        h.zero(4096, 0, nbd.CMD_FLAG_NO_HOLE)
        h.pwrite(b"\xaa" * 4096, 4096)
        h.zero(4096, 4096, nbd.CMD_FLAG_FAST_ZERO)
        assert h.pread(8192, 0) == bytes(8192)

    disk = offer("file", MIB, path=f"/dev/shm/nbdgateway-{os.getpid()}.raw")
    clients.nbdsh(disk.uri, script)


def is_tmpfs(directory: str) -> bool:
    """Whether a mount point has a tmpfs on it."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(mount.split()[1:3] == [directory, "tmpfs"] for mount in mounts)


def test_a_read_of_data_and_holes_is_told_in_chunks(clients: Clients, disk: Disk) -> None:
    """Each part once; with DF it is one, and all of it data."""

    def script(h: Any) -> None:
        import nbd

        mib = 1 << 20
        h.pwrite(b"\xaa" * mib, mib)
        chunks: list[tuple[int, int, int]] = []

        def chunk(data: Any, offset: int, status: int, error: Any) -> int:
            chunks.append((offset, len(data), status))
            return 0

        assert h.pread_structured(3 * mib, 0, chunk) == bytes(mib) + b"\xaa" * mib + bytes(mib)
        position = 0
        for offset, length, _ in sorted(chunks):
            assert offset == position
            position += length
        assert position == 3 * mib
        holes = [offset for offset, _, status in chunks if status == nbd.READ_HOLE]
        assert holes == [0, 2 * mib], chunks
        chunks.clear()
        h.pread_structured(3 * mib, 0, chunk, nbd.CMD_FLAG_DF)
        assert chunks == [(0, 3 * mib, nbd.READ_DATA)]

    clients.nbdsh(disk.uri, script)


def test_several_contexts_are_told_at_once(clients: Clients, disk: Disk) -> None:
    """Each request is answered in both; REQ_ONE is answered with one extent of each."""

    def script(h: Any, uri: str) -> None:
        import nbd

        for name in ("base:allocation", "qemu:allocation-depth", "x-unknown:context"):
            h.add_meta_context(name)
        h.connect_uri(uri)
        assert h.can_meta_context("base:allocation")
        assert h.can_meta_context("qemu:allocation-depth")
        assert not h.can_meta_context("x-unknown:context")
        h.pwrite(b"1" * 65536, 65536)
        seen: dict[str, list[int]] = {}

        def status(name: str, offset: int, entries: list[int], error: Any) -> int:
            seen[name] = entries
            return 0

        size = h.get_size()
        h.block_status(size, 0, status)
        rest = size - 131072
        assert seen["base:allocation"] == [65536, 3, 65536, 0, rest, 3], seen
        assert seen["qemu:allocation-depth"] == [65536, 0, 65536, 1, rest, 0], seen
        seen.clear()
        h.block_status(131072, 1000, status, nbd.CMD_FLAG_REQ_ONE)
        assert seen["base:allocation"] == [64536, 3]
        assert seen["qemu:allocation-depth"] == [64536, 0]

    clients.nbdsh(None, script, disk.uri)


def test_options_can_be_tried_before_one_export_is_chosen(clients: Clients, disk: Disk) -> None:
    """INFO, LIST, LIST_META_CONTEXT with and without wildcards, a refusal, then GO."""

    def script(h: Any, uri: str, name: str) -> None:
        import nbd

        h.set_opt_mode(True)
        h.connect_uri(uri)
        names: list[str] = []
        h.opt_list(lambda name, description: names.append(name) and 0 or 0)
        assert name in names and "one" in names
        found: list[str] = []
        for queries in ([], ["qemu:"], ["base:allocation"], ["base:nothing"]):
            h.clear_meta_contexts()
            for query in queries:
                h.add_meta_context(query)
            h.opt_list_meta_context(lambda context: found.append(context) and 0 or 0)
            found.append(";")
        every = ["base:allocation", "qemu:allocation-depth", ";"]
        assert found == [*every, "qemu:allocation-depth", ";", "base:allocation", ";", ";"], found
        h.set_export_name("no such export")
        try:
            h.opt_info()
        except nbd.Error as error:
            assert error.errno == "ENOENT", error
        else:
            raise AssertionError("it is offered")
        h.set_export_name(name)
        h.opt_info()
        assert h.get_size() == 64 << 20
        h.opt_go()
        h.pwrite(b"1", 0)

    clients.nbdsh(None, script, disk.uri, disk.name)


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_clients_of_every_age_get_in(clients: Clients, disk: Disk, flags: int) -> None:
    """Without fixed newstyle there is only EXPORT_NAME; with and without its 124 zeroes."""

    def script(h: Any, uri: str, flags: int) -> None:
        h.set_handshake_flags(flags)
        h.connect_uri(uri)
        assert h.get_protocol() == ("newstyle-fixed" if flags & 1 else "newstyle")
        assert h.get_size() == 64 << 20
        h.pwrite(b"old" * 1000, 5)
        assert h.pread(3000, 5) == b"old" * 1000
        h.shutdown()

    clients.nbdsh(None, script, disk.uri, flags)


def test_simple_replies_do_all_but_chunks(clients: Clients, disk: Disk) -> None:
    """As the Linux kernel speaks."""

    def script(h: Any, uri: str) -> None:
        h.set_request_structured_replies(False)
        h.connect_uri(uri)
        assert not h.get_structured_replies_negotiated()
        assert not h.can_df()
        h.pwrite(b"k" * 1048576, 512)
        h.zero(512, 1024)
        h.trim(4096, 8192)
        h.flush()
        assert h.pread(1536, 0) == bytes(512) + b"k" * 512 + bytes(512)

    clients.nbdsh(None, script, disk.uri)


def test_bad_requests_are_refused_and_the_next_one_works(clients: Clients, disk: Disk) -> None:
    """Out of range, flags of other commands, no length: errors as the protocol names them."""

    def script(h: Any) -> None:
        import nbd

        h.set_strict_mode(0)
        size = h.get_size()
        callback = lambda *_: 0  # noqa: E731
        bad = [
            ("EINVAL", h.pread, (512, size)),
            ("EINVAL", h.pread, (512, size - 1)),
            ("ENOSPC", h.pwrite, (b"1" * 512, size - 1)),
            ("ENOSPC", h.zero, (512, size - 1)),
            ("ENOSPC", h.zero, (512, size, nbd.CMD_FLAG_FAST_ZERO)),
            ("EINVAL", h.trim, (512, size - 1)),
            ("EINVAL", h.cache, (512, size)),
            ("EINVAL", h.pwrite, (b"1" * 512, 0, nbd.CMD_FLAG_FAST_ZERO)),
            ("EINVAL", h.pwrite, (b"1" * 512, 0, nbd.CMD_FLAG_NO_HOLE)),
            ("EINVAL", h.trim, (512, 0, nbd.CMD_FLAG_FAST_ZERO)),
            ("EINVAL", h.zero, (512, 0, nbd.CMD_FLAG_DF)),
            ("EINVAL", h.zero, (512, 0, 1 << 15)),
            ("EINVAL", h.flush, (nbd.CMD_FLAG_REQ_ONE,)),
            ("EINVAL", h.block_status, (512, 0, callback)),
        ]
        for expected, call, arguments in bad:
            try:
                call(*arguments)
            except nbd.Error as error:
                assert error.errno == expected, (call, arguments, error)
            else:
                raise AssertionError((call, arguments))
            assert h.pread(512, 0) == bytes(512)
        for call, arguments in ((h.zero, (0, 0)), (h.trim, (0, 0)), (h.pwrite, (b"", 0))):
            call(*arguments)
        h.pwrite(b"1" * 512, size - 512)
        assert h.pread(512, size - 512) == b"1" * 512

    clients.nbdsh(disk.uri, script)


def test_what_one_connection_wrote_every_other_reads(clients: Clients, disk: Disk) -> None:
    """Multi-conn: at once, over either transport, and one flush serves all."""

    def script(h: Any, tcp: str) -> None:
        import nbd

        others = [nbd.NBD() for _ in range(3)]
        for other in others:
            other.connect_uri(tcp)
            assert other.can_multi_conn() and h.can_multi_conn()
        for turn, writer in enumerate([h, *others, h], 1):
            data = bytes([turn]) * 65536
            writer.pwrite(data, 1000)
            assert all(reader.pread(65536, 1000) == data for reader in [h, *others])
            writer.zero(512, 2000)
            assert all(reader.pread(512, 2000) == bytes(512) for reader in [h, *others])
        h.flush()
        for other in others:
            other.shutdown()

    clients.nbdsh(disk.uri, script, disk.tcp)


def test_a_client_that_hangs_up_without_a_word_harms_nobody(clients: Clients, disk: Disk) -> None:
    """With requests in flight; its answered writes stay."""

    def script(h: Any, uri: str) -> None:
        import nbd

        other = nbd.NBD()
        other.connect_uri(uri)
        other.pwrite(b"kept" * 1024, 0)
        for number in range(64):
            other.aio_pread(nbd.Buffer(1 << 20), number << 20)
        del other
        assert h.pread(4096, 0) == b"kept" * 1024

    clients.nbdsh(disk.uri, script, disk.uri)
