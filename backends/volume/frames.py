"""
Frames: the pieces of 64 KiB in which an object's data is checked, compressed and encrypted.

Plain data is compressed if that saves an eighth, then encrypted if the volume
is, then covered by a CRC. Reading goes the other way round, and nothing is
believed before it is checked: no frame makes more than `FRAME` bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import attrs

from backends.volume.header import Codec, Frame, Header, crc32c, object_crypt
from backends.volume.keys import Crypt, ObjectCrypt, Tampered
from backends.volume.units import FRAME
from gateway.errors import ConfigurationError, Corrupt, Unavailable
from gateway.interfaces import Buffer

try:
    import zstandard
except ImportError:  # pragma: no cover - an extra
    zstandard = None  # type: ignore[assignment]
try:
    import lz4.block as lz4_block  # type: ignore[import-untyped]
except ImportError:  # pragma: no cover - an extra
    lz4_block = None

#: What the libraries raise for bytes that they cannot decompress.
_FAILURES = (
    ValueError,
    MemoryError,
    *([] if zstandard is None else [zstandard.ZstdError]),
    *([] if lz4_block is None else [lz4_block.LZ4BlockError]),
)

#: What settings and superblocks call the codecs.
CODECS = {"none": Codec.NONE, "zstd": Codec.ZSTD, "lz4": Codec.LZ4}

_ZSTD_LEVEL = 1

#: Pieces of a frame, and bytes of each, that tell whether compressing it is worth a try.
_SAMPLES, _SAMPLE = 4, 2048


class _Contexts(threading.local):
    """zstd's working memory, which no two threads may use at once."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = None if zstandard is None else _Contexts()


def codec(name: str) -> Codec:
    """
    A codec by the name it has in settings and superblocks, ready for use.

    Raises:
        ConfigurationError: no such codec, or its library is not installed.
    """
    if name not in CODECS:
        raise ConfigurationError([f'compression: got "{name}", expected {", ".join(CODECS)}'])
    package = missing_package(CODECS[name])
    if package is not None:
        raise ConfigurationError(
            [f'compression: got "{name}", which needs the Python package {package}: not installed']
        )
    return CODECS[name]


def missing_package(codec: Codec) -> str | None:
    """The package that a codec needs and that is not installed; None if it is ready."""
    if codec is Codec.ZSTD and zstandard is None:
        return "zstandard"
    if codec is Codec.LZ4 and lz4_block is None:
        return "lz4"
    return None


def compress(plain: Buffer, codec: Codec, doubted: bool = False) -> tuple[Buffer, Codec]:
    """
    What to store for ``plain``, and how it was made: as it is unless an eighth is saved.

    Args:
        doubted: samples decide first whether to try: data beside it did not shrink.
    """
    if codec is Codec.ZSTD:
        assert _contexts is not None, "checked by codec()"
        if doubted and not _may_shrink(plain):
            return plain, Codec.NONE
        packed = _contexts.compressor.compress(plain)
    elif codec is Codec.LZ4:
        packed = lz4_block.compress(plain, store_size=False)
    else:
        return plain, Codec.NONE
    if len(packed) > len(plain) - max(1, len(plain) // 8):
        return plain, Codec.NONE
    return packed, codec


def _may_shrink(plain: Buffer) -> bool:
    """Whether zstd saves anything of some of it: on data that is random it never does."""
    step = len(plain) // _SAMPLES
    if step <= _SAMPLE:
        return True
    view = memoryview(plain)
    sample = b"".join(view[number * step :][:_SAMPLE] for number in range(_SAMPLES))
    assert _contexts is not None
    return len(_contexts.compressor.compress(sample)) < len(sample)


def decompress(packed: Buffer, codec: Codec, plain_length: int, where: str) -> Buffer:
    """
    Exactly ``plain_length`` bytes; at no time more.

    Raises:
        Corrupt: ``packed`` is not ``plain_length`` bytes made by ``codec``.
        Unavailable: the codec's library is not installed.
    """
    package = missing_package(codec)
    if package is not None:
        raise Unavailable(f"{where}: needs the Python package {package}: not installed")
    try:
        if codec is Codec.ZSTD:
            assert _contexts is not None
            # What the frame says of itself is what the library sets memory aside for.
            stated = zstandard.frame_content_size(packed)
            if stated != plain_length:
                raise Corrupt(
                    f"{where}: zstd states {'no' if stated < 0 else stated} plain bytes, "
                    f"expected {plain_length}"
                )
            plain: Buffer = _contexts.decompressor.decompress(packed, allow_extra_data=False)
        elif codec is Codec.LZ4:
            plain = lz4_block.decompress(packed, uncompressed_size=plain_length)
        else:
            plain = packed
    except _FAILURES as error:
        raise Corrupt(f"{where}: {codec.name.lower()} cannot decompress it: {error}") from None
    if len(plain) != plain_length:
        raise Corrupt(f"{where}: got {len(plain)} plain bytes, expected {plain_length}")
    return plain


def filled(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    """The joined pieces as plain data of frames, each with memory of its own; see `split`."""
    pending: list[memoryview] = []
    room = FRAME
    for piece in pieces:
        while len(piece) >= room:
            pending.append(piece[:room])
            yield b"".join(pending)
            piece, pending, room = piece[room:], [], FRAME
        if piece:
            pending.append(piece)
            room -= len(piece)
    if pending:
        yield b"".join(pending)


def split(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """
    The joined pieces as plain data of frames: `FRAME` bytes each, the last one the rest.

    A piece that is a frame is that frame; what lies inside a longer one is a view of
    it; the rest is copied together.
    """
    pending = bytearray()
    for piece in pieces:
        if not pending and isinstance(piece, bytes) and len(piece) == FRAME:
            yield piece
            continue
        view = memoryview(piece).cast("B")
        start = 0
        if pending:
            start = min(FRAME - len(pending), len(view))
            pending += view[:start]
            if len(pending) < FRAME:
                continue
            yield pending
            pending = bytearray()
        whole = start + (len(view) - start) // FRAME * FRAME
        for offset in range(start, whole, FRAME):
            yield view[offset : offset + FRAME]
        pending += view[whole:]
    if pending:
        yield pending


def close_frame(
    plain: Buffer, codec: Codec, crypt: ObjectCrypt | None, index: int, doubted: bool = False
) -> tuple[Buffer, Frame]:
    """
    The stored bytes of a frame, and its line in the table.

    Without compression and encryption the stored bytes are ``plain`` itself,
    not a copy.

    Args:
        plain: 1 to `FRAME` bytes.
        crypt: the keys of the object, in an encrypted volume.
        index: the frame's number in the object.
        doubted: see `compress`.
    """
    stored, used = compress(plain, codec, doubted)
    if crypt is not None:
        stored = crypt.seal(index, stored)
    return stored, Frame(len(stored), used, crc32c(stored))


@attrs.frozen
class Opened:
    """
    Frames by their numbers, or what is wrong with them.

    Attributes:
        plain: each with memory of its own.
        stored: likewise of those that are well, as far as it was asked for.
        failures: `Corrupt` and `Unavailable`, not raised.
    """

    plain: dict[int, bytes] = attrs.field(factory=dict)
    stored: dict[int, bytes] = attrs.field(factory=dict)
    failures: dict[int, Exception] = attrs.field(factory=dict)


def open_frames(
    header: Header,
    numbers: Iterable[int],
    data: Buffer,
    start: int,
    crypt: Crypt | None,
    where: str,
    keep: bool,
) -> Opened:
    """
    The frames that lie in a piece of their object; pure computing, for any thread.

    Args:
        data: of the object, from ``start`` on.
        crypt, where: as for `open_frame`.
        keep: whether to answer their stored bytes as well.
    """
    opened = Opened()
    view = memoryview(data)
    for number in numbers:
        at = header.frame_offset(number) - start
        stored = bytes(view[at : at + header.frames[number].stored_length])
        try:
            opened.plain[number] = open_frame(header, number, stored, crypt, where)
        except (Corrupt, Unavailable) as failure:
            opened.failures[number] = failure
        else:
            if keep:
                opened.stored[number] = stored
    return opened


def open_frame(
    header: Header, index: int, stored: Buffer, crypt: Crypt | None, where: str
) -> bytes:
    """
    The plain data of one frame, checked.

    Args:
        stored: just the frame's stored bytes; see `Header.frame_range`.
        crypt: the key of the volume that wrote the object; None without encryption.
        where: the object's name, for messages.

    Returns:
        ``header.frame_plain_length(index)`` bytes of their own: kept, they
        keep nothing else alive.

    Raises:
        Corrupt: the bytes are not those that were stored.
        Unavailable: the codec's library is not installed.
    """
    where = f"{where}: frame {index}"
    frame = header.frames[index]
    if len(stored) != frame.stored_length:
        raise Corrupt(f"{where}: got {len(stored)} bytes, expected {frame.stored_length}")
    computed = crc32c(stored)
    if computed != frame.crc:
        raise Corrupt(f"{where}: CRC: got {computed:#010x}, expected {frame.crc:#010x}")
    if header.frames_encrypted:
        if crypt is None:
            raise Corrupt(f"{where}: it is encrypted, expected an object without encryption")
        try:
            stored = object_crypt(crypt, header).open(index, stored)
        except Tampered as error:
            raise Corrupt(f"{where}: {error}: changed, or sealed with another key") from None
    return bytes(decompress(stored, Codec(frame.codec), header.frame_plain_length(index), where))
