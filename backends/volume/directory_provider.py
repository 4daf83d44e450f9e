"""Provider ``directory``: volumes whose objects are files below a directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Hashable, Mapping
from random import Random
from urllib.parse import quote, unquote

import attrs
from zope.interface import implementer

from backends.objects.contract import Exists, IObjectStore, StoreError
from backends.objects.directory import RESERVED, DirectoryStore
from backends.objects.pools import in_threads
from backends.objects.retrying import RetryingStore
from backends.volume.addresses import query, split
from backends.volume.creating import PROBE
from backends.volume.opening import NoStore, Storage
from backends.volume.provider import VolumeProvider
from backends.volume.volume_settings import VolumeSettings
from gateway.errors import ExportUnavailable
from gateway.interfaces import Resources
from gateway.maintenance import IVolumeStorage, StoreTrait
from gateway.settings import BadValue, path, setting

#: Requests at once: threads that wait for the disk.
_READS = 8
_WRITES = 8
#: Seconds: how long requests are tried again, and the bounds of the first wait and of any.
_DEADLINE, _FIRST_DELAY, _LONGEST_DELAY = 30.0, 0.05, 2.0
#: What is tried, as `StoreTrait` names it.
_TRIED = "conditional-put"
#: Bytes of a file's name.
_LONGEST_NAME = 255


@attrs.frozen
class DirectorySettings(VolumeSettings):
    """The keys of an export section with ``provider = directory``."""

    path: str = setting(
        path,
        "The directory of the store; several volumes may lie in it. It is created if its parent"
        " exists. A shared file system has to support hard links.",
    )


@implementer(IVolumeStorage)
class DirectoryProvider(VolumeProvider):
    """Makes exports of volumes in directories."""

    name = "directory"
    settings = DirectorySettings
    schemes = ("file",)

    def values(self, url: str, store: bool = False) -> Mapping[str, str]:
        parts = split(url, self.schemes)
        found = query(parts, ("prefix",))
        where = unquote(parts.path).rstrip("/")
        if parts.netloc not in ("", "localhost") or not where:
            raise BadValue("a URL such as file:///srv/objects/volume")
        if "prefix" in found:
            # For a volume more than one folder below its store.
            return {"path": where, **found}
        if store:
            return {"path": where}
        root, _, prefix = where.rpartition("/")
        return {"path": root or "/", "prefix": prefix}

    def url(self, settings: DirectorySettings) -> str:
        root = os.path.abspath(settings.path)
        if "/" in settings.prefix:
            return f"file://{quote(root)}?prefix={quote(settings.prefix, safe='/')}"
        return f"file://{quote(os.path.join(root, settings.prefix))}"

    def identity(self, settings: DirectorySettings) -> Hashable | None:
        """The folder of the volume, whichever part of its path the prefix is."""
        return os.path.realpath(os.path.join(settings.path, settings.prefix))

    def describe(self, settings: DirectorySettings) -> str:
        return f"volume {settings.prefix} in directory {settings.path}"

    def problems_of_store(self, settings: DirectorySettings, read_only: bool) -> list[str]:
        return [
            *_problems_of_prefix(settings.prefix),
            *_problems_of_path(settings.path, read_only),
        ]

    def storage(
        self, settings: DirectorySettings, read_only: bool, resources: Resources
    ) -> Storage:
        async def make() -> IObjectStore:
            await resources.call_in_thread(_make_root, settings.path, read_only)
            threaded = in_threads(DirectoryStore(settings.path), resources.reactor, _READS, _WRITES)
            return RetryingStore(
                threaded, resources.reactor, Random(), _DEADLINE, _FIRST_DELAY, _LONGEST_DELAY
            )

        async def check(store: IObjectStore) -> None:
            await check_names(store, f"{settings.prefix}/{PROBE}{os.urandom(16).hex()}")

        async def traits(store: IObjectStore) -> list[StoreTrait]:
            try:
                await check(store)
            except ExportUnavailable as problem:
                return [StoreTrait(_TRIED, False, True, str(problem))]
            return [StoreTrait(_TRIED, True, True, "a file was made, replaced, and not made twice")]

        return Storage(make, check, traits)


async def check_names(store: IObjectStore, key: str) -> None:
    """
    Try what the file system has to do for a volume: files are synced, linked, and replaced.

    Args:
        key: of an object that nobody has; it is deleted.

    Raises:
        ExportUnavailable: the file system gives a name twice, or loses what was put.
        StoreError: it refuses.
    """
    try:
        await store.put(key, [b"first"], True)
        try:
            await store.put(key, [b"second"], True)
        except Exists:
            pass
        else:
            raise ExportUnavailable(
                f"{store.describe()}: a file was linked to a name that was taken: two gateways"
                " would overwrite each other's objects; expected a file system with link(2)"
            )
        await store.put(key, [b"third"], False)
        got = await store.get(key, 0, 100)
        if got != b"third":
            raise ExportUnavailable(f"{store.describe()}: got {got!r} from a file of b'third'")
    finally:
        with contextlib.suppress(StoreError):
            await store.delete([key])


def _make_root(root: str, read_only: bool) -> None:
    """Blocks."""
    try:
        if not read_only:
            with contextlib.suppress(FileExistsError):
                os.mkdir(root, 0o700)
        if read_only and not os.path.lexists(root):
            raise NoStore(f"path: got {root}, expected a directory")
        if not os.path.isdir(root):
            raise ExportUnavailable(f"path: got {root}, expected a directory")
    except OSError as error:
        raise ExportUnavailable(
            f"path: got {root}: {error.strerror}, expected a directory, or a place for one"
        ) from error


def _problems_of_prefix(prefix: str) -> list[str]:
    segments = [os.fsencode(segment) for segment in prefix.split("/")]
    found = []
    if segments[0] in RESERVED:
        found.append(f"prefix: got {prefix}, expected one that does not start with {segments[0]!r}")
    if any(len(segment) > _LONGEST_NAME for segment in segments):
        found.append(f"prefix: got {prefix}, expected names of at most {_LONGEST_NAME} bytes each")
    return found


def _problems_of_path(root: str, read_only: bool) -> list[str]:
    if os.path.isdir(root):
        wanted = os.R_OK | os.X_OK if read_only else os.R_OK | os.W_OK | os.X_OK
        if not os.access(root, wanted):
            wish = "readable" if read_only else "readable and writable (or read_only = yes)"
            return [f"path: got {root}, expected a directory that is {wish}"]
        return []
    if os.path.lexists(root):
        return [f"path: got {root}, expected a directory"]
    parent = os.path.dirname(root.rstrip("/")) or "."
    if read_only:
        return [f"path: got {root}, expected an existing directory, for read_only = yes"]
    if not os.path.isdir(parent):
        return [f"path: got {root}, expected a directory, or a place for one in an existing one"]
    if not os.access(parent, os.W_OK | os.X_OK):
        return [f"path: got {root}, expected it in a directory that can be written to"]
    return []
