"""The sizes that a volume is made of."""

from __future__ import annotations

from gateway.info import KIB, MIB

#: Bytes; the map's unit. Every offset inside a volume is in sectors unless it says bytes.
SECTOR = 512

#: Sectors of the largest disk: what the extents of a header can name.
MAX_SECTORS = 1 << 48

#: Bytes of plain data that are checked, compressed and encrypted as one.
FRAME = 64 * KIB
FRAME_SECTORS = FRAME // SECTOR

#: Sectors that one page of the map covers: 16 MiB.
PAGE_SECTORS = 16 * MIB // SECTOR

#: Pages that one leaf of the directory covers: 64 GiB.
LEAF_PAGES = 4096

#: Bytes; no header is longer, so a reader that gets these has all of it.
HEADER_LIMIT = 64 * KIB

#: Bytes; nobody hands in a longer write.
LARGEST_WRITE = 32 * MIB

#: Bytes of data at which an object is sealed.
OBJECT_BYTES = 8 * MIB

#: Log objects that may be under way at once: slot n is not tried before slot n - WINDOW is
#: known to be stored. A fence jumps that far; see `docs/reference/volume-format.md`.
WINDOW = 8
