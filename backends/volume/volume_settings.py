"""The settings that volumes have in every kind of store."""

from __future__ import annotations

import os

import attrs

from backends.objects.s3_settings import patience, problem_of_a_secret_file
from backends.volume.disk_cache import LEAST as LEAST_CACHE
from backends.volume.environment import Options
from backends.volume.frames import missing_package
from backends.volume.header import Codec
from backends.volume.keys import KeySource
from backends.volume.units import MAX_SECTORS, OBJECT_BYTES, SECTOR
from gateway.errors import ExportUnavailable
from gateway.info import KIB, MAX_EXPORT_SIZE, MIB
from gateway.settings import NAME, BadValue, boolean, choice, path, seconds, setting
from gateway.settings import size as size_in_bytes

#: Bytes; the smallest that each may be.
_LEAST_JOURNAL = 128 * MIB
_LEAST_OBJECT = 256 * KIB
_LEAST_MAP = 4 * MIB
#: A key file or passphrase that is longer is none.
_LONGEST_SECRET = 64 * KIB
#: Bytes of a prefix, so that the names of a volume's objects stay below 1,024.
_LONGEST_PREFIX = 900

_DEFAULTS = Options()
#: Seconds that changes wait where a journal has them.
_JOURNAL_DELAY = 30.0


def folder(value: str) -> str:
    """A path of names, separated by slashes."""
    value = value.removesuffix("/")
    good = value.isprintable() and len(value.encode(errors="replace")) <= _LONGEST_PREFIX
    if not good or any(segment in ("", ".", "..") for segment in value.split("/")):
        raise BadValue(
            "names of printable characters separated by single slashes, none of them . or ..,"
            f" in at most {_LONGEST_PREFIX} bytes"
        )
    return value


def part(value: str) -> float:
    """A part of the whole, such as 0.75."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise BadValue("a number between 0 and 1, such as 0.75")
    return number


@attrs.frozen(slots=False)  # a base beside another one
class VolumeSettings:
    """What a volume is and how it works; which store it lies in is for subclasses."""

    prefix: str = setting(
        folder,
        "The folder of the volume's objects in the store, for it alone. The default is the"
        " export's name.",
        default=NAME,
    )
    size: int | None = setting(
        size_in_bytes,
        "Bytes of the disk, a multiple of 512. A missing volume is created with them; an existing"
        " one keeps its own size, and the log says so. Without it the volume must exist.",
        default=None,
    )
    durability: str = setting(
        choice("store", "journal"),
        "What a flush waits for. `store`: the objects are in the store. `journal`: the changes are"
        " in a journal below `state_dir`, and reach the store soon; as long as they have not, only"
        " this machine can open the volume without loss.",
        default="store",
    )
    journal_size: int = setting(
        size_in_bytes,
        "Bytes on disk of the journal, 128M or more, taken when it is created. Clients wait while"
        " it is full.",
        default=1024 * MIB,
    )
    accept_loss: bool = setting(
        boolean,
        "Open the volume even though another machine's journal may hold changes that the store"
        " lacks. They are then lost for good. Take it out again once the volume is open.",
        default=False,
    )
    key_file: str | None = setting(
        path,
        "Encrypts a new volume, and opens an encrypted one: a file of 32 random bytes, as they are,"
        " in hexadecimal or in base64, readable by nobody but the gateway. Without the key the"
        " data is gone.",
        default=None,
    )
    passphrase_file: str | None = setting(
        path, "The same with a passphrase instead of a key.", default=None
    )
    compression: str = setting(
        choice("zstd", "lz4", "off"),
        "For new volumes; an existing one keeps what it was created with. `lz4` needs the package"
        " of that name: `pip install nbdgateway[lz4]`.",
        default="zstd",
    )
    cache_size: int = setting(
        size_in_bytes,
        "Bytes on disk, below `state_dir`, for what was read from the store; 0 for none, else 4M"
        " or more. All volumes share one cache, and the one that is opened first decides.",
        default=0,
    )
    memory_cache: int = setting(
        size_in_bytes,
        "Bytes of memory for what was read last, a quarter of it for what was written and not read"
        " since. All volumes share one cache, as large as the largest that is asked for.",
        default=256 * MIB,
    )
    map_memory: int = setting(
        size_in_bytes,
        "Bytes of memory for the map that says where each block lies; what does not fit is read"
        " from the store again.",
        default=_DEFAULTS.map_memory,
    )
    dirty_limit: int = setting(
        size_in_bytes,
        "Bytes of data in memory that are not in the store yet; beyond that, writers wait.",
        default=_DEFAULTS.dirty_limit,
    )
    object_size: int = setting(
        size_in_bytes,
        "Bytes of data at which an object is written, 256K to 8M.",
        default=OBJECT_BYTES,
    )
    upload_delay: float | None = setting(
        seconds,
        "How long changes may wait for more to come, so that one object holds them, unless a"
        " flush asks. With a journal this is what may be lost with the machine, and what a disk"
        " at rest costs in requests. The default is 2 seconds, or 30 with a journal.",
        default=None,
    )
    flush_deadline: float = setting(
        patience,
        "How long a flush may wait for the store before it fails. What was written stays in"
        " memory and is tried on, and a later flush may succeed.",
        default=_DEFAULTS.flush_deadline,
    )
    checkpoint_delay: float = setting(
        patience, "How long after a change the map is written.", default=_DEFAULTS.checkpoint_delay
    )
    gc: bool = setting(
        boolean,
        "Move what is left of objects that are mostly overwritten, and delete them.",
        default=_DEFAULTS.collect,
    )
    gc_begin: float = setting(
        part,
        "That begins when less than this part of the volume's bytes in the store is live.",
        default=_DEFAULTS.live_low,
    )
    gc_end: float = setting(
        part, "It ends when at least this part is live again.", default=_DEFAULTS.live_high
    )
    gc_rate: int = setting(
        size_in_bytes, "Bytes a second that may be moved.", default=int(_DEFAULTS.collect_rate)
    )
    sweep_delay: float = setting(
        seconds,
        "How long between two searches for objects that a crash left behind; 0 for none.",
        default=_DEFAULTS.sweep_delay,
    )

    @property
    def codec(self) -> str:
        """The compression as a volume calls it."""
        return "none" if self.compression == "off" else self.compression

    def options(self) -> Options:
        """What does not depend on the volume itself."""
        return Options(
            object_bytes=self.object_size,
            upload_delay=self._upload_delay(),
            dirty_limit=self.dirty_limit,
            flush_deadline=self.flush_deadline,
            checkpoint_delay=self.checkpoint_delay,
            map_memory=self.map_memory,
            collect=self.gc,
            live_low=self.gc_begin,
            live_high=self.gc_end,
            collect_rate=float(self.gc_rate),
            sweep_delay=self.sweep_delay,
        )

    def _upload_delay(self) -> float:
        if self.upload_delay is not None:
            return self.upload_delay
        return _JOURNAL_DELAY if self.durability == "journal" else _DEFAULTS.upload_delay


def problems(settings: VolumeSettings) -> list[str]:
    """What can be found wrong without a store, one text each."""
    found = []
    package = missing_package(Codec[settings.codec.upper()])
    if package is not None:
        found.append(
            f"compression: got {settings.compression}, expected the Python package {package} to be"
            " installed"
        )
    if settings.gc_begin >= settings.gc_end:
        found.append(
            f"gc_begin: got {settings.gc_begin:g}, expected less than gc_end,"
            f" which is {settings.gc_end:g}"
        )
    try:
        read_key(settings)
    except BadValue as problem:
        found.append(str(problem))
    return [*_problems_of_sizes(settings), *found]


def key_source(settings: VolumeSettings) -> KeySource | None:
    """
    What opens the volume; None for one without encryption. Blocks while a small file is read.

    Raises:
        ExportUnavailable: the file is missing, open to others, or holds no key.
    """
    try:
        return read_key(settings)
    except BadValue as problem:
        raise ExportUnavailable(str(problem)) from None


def read_key(settings: VolumeSettings) -> KeySource | None:
    """
    The same, for checking.

    Raises:
        BadValue: the text names the key and what is wrong, never what is in the file.
    """
    if settings.key_file is not None and settings.passphrase_file is not None:
        raise BadValue("passphrase_file: got one beside a key_file, expected one of the two")
    if settings.key_file is not None:
        content = _secret("key_file", settings.key_file)
        try:
            return KeySource.from_key_file(content)
        except BadValue as problem:
            raise BadValue(f"key_file: {problem}") from None
    if settings.passphrase_file is not None:
        content = _secret("passphrase_file", settings.passphrase_file)
        try:
            return KeySource.from_passphrase(content.decode())
        except UnicodeDecodeError:
            raise BadValue("passphrase_file: got bytes that are not UTF-8") from None
        except BadValue as problem:
            raise BadValue(f"passphrase_file: {problem}") from None
    return None


def _secret(key: str, name: str) -> bytes:
    problem = problem_of_a_secret_file(name)
    if problem is not None:
        raise BadValue(f"{key}: {problem}")
    try:
        with open(name, "rb", opener=_opener) as file:
            return file.read(_LONGEST_SECRET)
    except OSError as error:
        raise BadValue(f"{key}: got {name}: {error.strerror}, expected a file") from None


def _opener(name: str, flags: int) -> int:
    # A pipe put in the file's place must not make anyone wait.
    return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _problems_of_sizes(settings: VolumeSettings) -> list[str]:
    found = []
    largest = min(MAX_SECTORS * SECTOR, MAX_EXPORT_SIZE)
    asked = settings.size
    if asked is not None and (asked % SECTOR or not 0 < asked <= largest):
        found.append(
            f"size: got {asked}, expected a multiple of {SECTOR} bytes, from {SECTOR} to {largest}"
        )
    if settings.journal_size < _LEAST_JOURNAL:
        found.append(f"journal_size: got {settings.journal_size}, expected 128M or more")
    if not _LEAST_OBJECT <= settings.object_size <= OBJECT_BYTES:
        found.append(f"object_size: got {settings.object_size}, expected 256K to 8M")
    if settings.dirty_limit < 2 * settings.object_size:
        found.append(
            f"dirty_limit: got {settings.dirty_limit}, expected twice object_size or more,"
            f" {2 * settings.object_size}"
        )
    if settings.map_memory < _LEAST_MAP:
        found.append(f"map_memory: got {settings.map_memory}, expected 4M or more")
    if settings.gc_rate == 0:
        found.append("gc_rate: got 0, expected some bytes a second (or gc = no)")
    if settings.cache_size and settings.cache_size < LEAST_CACHE:
        found.append(f"cache_size: got {settings.cache_size}, expected 0, or 4M or more")
    return found
