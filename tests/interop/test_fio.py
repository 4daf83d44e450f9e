"""fio's nbd engine writes checksummed blocks and reads them back."""

from __future__ import annotations

import pytest

from tests.interop.clients import Clients
from tests.interop.gateway import Disk

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(
    ("block", "depth"), [("4k", 32), ("512-64k", 16), ("1m", 4)], ids=["small", "mixed", "large"]
)
def test_fio_finds_the_checksum_of_every_block(
    clients: Clients, disk: Disk, block: str, depth: int
) -> None:
    """Four jobs, each with a connection and a quarter of the disk of its own."""
    size = "--bsrange" if "-" in block else "--bs"
    clients.run(
        "fio",
        "--name=verify",
        "--ioengine=nbd",
        f"--uri={disk.uri}",
        "--rw=randwrite",
        f"{size}={block}",
        f"--iodepth={depth}",
        "--numjobs=4",
        "--size=4m",
        "--offset_increment=16m",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--thread",
        "--group_reporting",
    )


def test_fio_verifies_a_mix_of_reads_and_writes(clients: Clients, disk: Disk) -> None:
    """Over TCP, with a flush now and then; fio stops at the first error."""
    clients.run(
        "fio",
        "--name=mix",
        "--ioengine=nbd",
        f"--uri={disk.tcp}",
        "--rw=randrw",
        "--bs=8k",
        "--iodepth=16",
        "--size=8m",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--fsync=64",
        "--thread",
    )
