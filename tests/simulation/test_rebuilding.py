"""A disk from its objects alone, by a reader that shares nothing with the program."""

from __future__ import annotations

import pytest

from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from gateway.info import KIB
from tests.doubles.volumes import VolumeHost
from tests.simulation.audit import check_objects, check_rebuilt
from tests.simulation.format import Place
from tests.simulation.model import Wrong, Zones
from tests.simulation.replay import replayed

SIZE = 256 * KIB
KEY = bytes(range(32))


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def host(request):
    options = Options(object_bytes=64 * KIB, collect=False)
    host = VolumeHost(MemoryStore(), options, codec="zstd", key=request.param)
    host.secret = request.param
    return host


def objects(host):
    store = host.store
    return {
        listed.key: host.settle(store.get(listed.key, 0, 1 << 30))
        for listed in host.settle(store.list("", ""))
    }


def test_going_back_and_forth_is_replayed(host):
    """A snapshot that was taken after going back is another one than that of the time before."""
    volume = host.new(SIZE)
    host.settle(volume.write(0, b"a" * 4096, False))
    host.settle(volume.snapshots.take("first"))
    host.settle(volume.write(0, b"b" * 4096, False))
    host.settle(volume.write(8192, b"b" * 4096, False))
    host.settle(volume.snapshots.take("between"))
    host.settle(volume.snapshots.roll_back("first"))
    host.settle(volume.snapshots.take("again"))
    host.settle(volume.write(4096, b"c" * 4096, False))
    host.settle(volume.snapshots.roll_back("again"))
    host.settle(volume.write(16384, b"d" * 4096, False))
    host.settle(volume.close())
    disk = replayed(Place(objects(host), "volume-1", host.secret), Zones([(0, SIZE)]))
    expected = b"a" * 4096 + bytes(12288) + b"d" * 4096
    assert disk == expected.ljust(SIZE, b"\0")


def test_what_is_missing_or_left_over_is_named(host):
    """The audit finds an object that is gone, and one that nobody needs."""
    volume = host.new(SIZE)
    host.settle(volume.write(0, b"a" * 4096, False))
    host.settle(volume.close())
    there = objects(host)
    check_objects(there, "volume-1", host.secret)
    (data,) = [key for key in there if "/log/" in key and len(there[key]) > 128]
    without = {key: there[key] for key in there if key != data}
    with pytest.raises(Wrong, match=f"reachable, and missing.*{data}"):
        check_objects(without, "volume-1", host.secret)
    more = there | {"volume-1/gc/00000001-00000099": there[data]}
    with pytest.raises(Wrong, match="00000099 is left over"):
        check_objects(more, "volume-1", host.secret)
    with pytest.raises(Wrong, match="without checkpoints, sector 0"):
        check_rebuilt(there, "volume-1", host.secret, Zones([(0, SIZE)]), bytes(SIZE))
