"""A volume that has seen everything, at rest; damaged on purpose, and compared byte for byte."""

from __future__ import annotations

from random import Random

from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from backends.volume.header import Codec, Extent
from backends.volume.inspection.view import Inspected, look
from backends.volume.keys import KeySource
from backends.volume.names import Kind
from backends.volume.sealing import seal
from backends.volume.values import DATA
from gateway.info import KIB, MIB
from tests.doubles.volumes import VolumeHost

SIZE = 40 * MIB
SECTORS = SIZE // 512

#: Told nobody.
QUIET = lambda *_: None  # noqa: E731


class VolumeAtRest:
    """
    Args:
        key: of the volume, 32 bytes; None for no encryption.
        options: of writers.
    """

    def __init__(self, key=None, seed=1, **options):
        chosen = {"object_bytes": 64 * KIB, "collect": False, "sweep_delay": 0, **options}
        self.host = VolumeHost(MemoryStore(), Options(**chosen), codec="zstd", key=key)
        self.source = None if key is None else KeySource.from_key_file(key)
        self.random = Random(seed)
        self.prefix = "volume-1"
        self.extents = 1 << 21
        self.volume = self.host.new(SIZE)

    @property
    def inspected(self):
        return Inspected(
            self.host.store, self.prefix, self.host.environment, self.source, self.extents
        )

    def do(self, work, *args):
        """What a tool of `backends.volume.inspection` answers."""
        return self.host.settle(work(self.inspected, *args))

    # A life.

    def write(self, times=20):
        """Data, zeroes and holes, anywhere."""
        random, settle = self.random, self.host.settle
        for _ in range(times):
            offset = random.randrange(SECTORS - 256) * 512
            length = random.randint(1, 200) * 512
            what = random.random()
            if what < 0.6:
                data = random.randbytes(512) * (length // 512)
                settle(self.volume.write(offset, data, False))
            elif what < 0.8:
                settle(
                    self.volume.write_zeroes(offset, length, random.random() < 0.5, False, False)
                )
            else:
                settle(self.volume.trim(offset, length, False))
            if random.random() < 0.4:
                settle(self.volume.flush())

    def live(self):
        """Writes, snapshots that come and go, a way back, collecting, a crash, and the end."""
        settle = self.host.settle
        self.write()
        settle(self.volume.snapshots.take("first"))
        self.write()
        settle(self.volume.checkpoint())
        settle(self.volume.snapshots.take("second"))
        self.write()
        settle(self.volume.snapshots.take("gone"))
        self.write()
        settle(self.volume.snapshots.roll_back("first"))
        self.write()
        settle(self.volume.checkpoint())
        self.crash()
        self.write()
        settle(self.volume.snapshots.take("third"))
        settle(self.volume.snapshots.delete("gone"))
        self.write(40)
        settle(self.volume.checkpoint())
        while settle(self.volume.collect()):
            pass
        self.write(5)
        settle(self.volume.checkpoint())
        settle(self.volume.sweep())
        self.close()
        return self

    def crash(self):
        """The writer is gone; the next one takes over."""
        self.host.settle(self.volume.flush())
        self.open()

    def open(self):
        self.volume = self.host.again(prefix=self.prefix)

    def close(self):
        self.host.settle(self.volume.close())

    def clone(self, snapshot, prefix):
        """From here on everything is about the clone."""
        from backends.volume.cloning import clone

        self.host.settle(
            clone(
                self.host.store, self.prefix, snapshot, prefix, self.host.environment, self.source
            )
        )
        self.prefix = prefix
        self.open()

    # What it holds.

    def contents(self):
        """Every byte of the disk, and of each snapshot by name; a fresh gateway reads them."""
        self.open()
        found = {None: self._all_of(self.volume)}
        for snapshot in self.volume.snapshots.all():
            export = self.host.settle(self.volume.derived(snapshot.name))
            found[snapshot.name] = self._all_of(export)
            self.host.settle(export.close())
        self.close()
        return found

    def _all_of(self, export):
        size = export.info.size
        return b"".join(
            bytes(self.host.settle(export.read(at, min(MIB, size - at))))
            for at in range(0, size, MIB)
        )

    # What lies there.

    def keys(self, folder="", prefix=None):
        start = f"{prefix or self.prefix}/{folder}"
        found, after = [], ""
        while page := self.host.settle(self.host.store.list(start, after)):
            found += [one.key for one in page]
            after = page[-1].key
        return found

    def get(self, key):
        return self.host.settle(self.host.store.get(key, 0, 1 << 30))

    def put(self, key, data):
        self.host.settle(self.host.store.put(key, [data], False))

    def lose(self, *keys):
        for key in keys:
            self.host.settle(self.host.store.delete([key]))

    def orphan(self):
        """Put an object of the collector that no table names; answers its key."""
        uuid = self.do(look).superblock.volume
        crypt = self.do(look).lineage.own.crypt
        sealed = seal(
            Kind.MOVED, uuid, bytes(16), 1, 1, 0x77, 0, [Extent(0, 8, DATA, 0)],
            [bytes(range(256)) * 16], Codec.NONE, crypt,
        )  # fmt: skip
        key = f"{self.prefix}/gc/00000001-00000077"
        self.put(key, b"".join(sealed.parts))
        return key

    def flip(self, key, at):
        """Turn a bit of a byte; counted from the end if negative."""
        data = bytearray(self.get(key))
        data[at] ^= 4
        self.put(key, bytes(data))

    def truncate(self, key, by=1):
        self.put(key, self.get(key)[:-by])
