"""Provider ``s3``: volumes in a bucket of S3, or of a store that speaks as S3 does."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Mapping
from functools import partial
from random import Random
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from backends.objects import s3_settings
from backends.objects.contract import IBlockingStore, IObjectStore
from backends.objects.pools import Pools
from backends.objects.probe import probe
from backends.objects.probe_cache import ProbeCache, cache_key
from backends.objects.probe_report import Report, refusal, unsafe_names
from backends.objects.retrying import RetryingStore
from backends.objects.s3 import S3Store
from backends.objects.s3_settings import S3Settings
from backends.objects.threaded import ThreadedStore
from backends.volume.addresses import query, split
from backends.volume.opening import Storage
from backends.volume.provider import VolumeProvider
from backends.volume.turns import Turn
from backends.volume.volume_settings import VolumeSettings
from gateway.errors import ExportUnavailable
from gateway.interfaces import Resources
from gateway.maintenance import IVolumeStorage, StoreTrait
from gateway.settings import BadValue, setting

#: Seconds: the bound of the first wait before a request is made again, and of any.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
#: Seconds for which a store that was found safe is taken to be so.
_PROBE_AGE = 30 * 86400.0

#: Keys that belong to where a bucket is.
_OF_ADDRESSES = ("endpoint_url", "region")

#: What a probe tries, and what a good store did.
_WELL = {
    "conditional-put": "a name that was taken was not given again",
    "race": "of many puts of one name at once, one succeeded each time",
    "list-after-put": "what was put was listed at once, and what was deleted no more",
    "range": "ranged reads gave the bytes that were asked for",
}

_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class S3VolumeSettings(VolumeSettings, S3Settings):
    """The keys of an export section with ``provider = s3``."""

    allow_unsafe: frozenset[str] = setting(
        unsafe_names,
        "What the store may lack although a volume needs it. Before a store is used for the first"
        " time, and then every month, it is tried with about 110 small requests; what it lacks is"
        " named together with what will happen.",
        default=frozenset(),
    )

    def store(self) -> S3Settings:
        """Those of the bucket alone."""
        return S3Settings(
            **{field.name: getattr(self, field.name) for field in attrs.fields(S3Settings)}
        )


@implementer(IVolumeStorage)
class S3Provider(VolumeProvider):
    """
    Makes exports of volumes in buckets.

    Args:
        make_store: makes what is asked, in threads, of settings.
    """

    name = "s3"
    settings = S3VolumeSettings
    schemes = ("s3",)

    def __init__(self, make_store: Any = S3Store) -> None:
        self._make_store = make_store
        self._verdicts = _Verdicts()

    def values(self, url: str, store: bool = False) -> Mapping[str, str]:
        parts = split(url, self.schemes)
        if not parts.netloc:
            raise BadValue("a URL such as s3://bucket/folder/volume")
        prefix = unquote(parts.path).strip("/")
        found = query(parts, [one.name for one in attrs.fields(S3Settings) if one.name != "bucket"])
        return {"bucket": parts.netloc, **({"prefix": prefix} if prefix else {}), **found}

    def url(self, settings: S3VolumeSettings) -> str:
        keys = {name: getattr(settings, name) for name in _OF_ADDRESSES}
        further = urlencode({name: value for name, value in keys.items() if value}, safe=":/")
        where = f"s3://{settings.bucket}/{quote(settings.prefix, safe='/')}"
        return f"{where}?{further}" if further else where

    def identity(self, settings: S3VolumeSettings) -> Hashable | None:
        return _endpoint(settings.endpoint_url), settings.bucket, settings.prefix

    def describe(self, settings: S3VolumeSettings) -> str:
        where = settings.endpoint_url
        at = f" at {where}" if where is not None and "@" not in where else ""
        return f"volume s3://{settings.bucket}/{settings.prefix}{at}"

    def problems_of_store(self, settings: S3VolumeSettings, read_only: bool) -> list[str]:
        found = s3_settings.problems(settings)
        if settings.anonymous and not read_only:
            found.append("anonymous: got yes, expected no, or read_only = yes")
        return found

    def storage(self, settings: S3VolumeSettings, read_only: bool, resources: Resources) -> Storage:
        reactor = resources.reactor
        pools = Pools(reactor, settings.max_reads, settings.max_writes)
        blocking = self._make_store(settings.store())

        async def make() -> IObjectStore:
            for warning in s3_settings.warnings(settings):
                _Probing.log.warn("{warning}", warning=warning)
            threaded = ThreadedStore(blocking, pools.reads.call, pools.writes.call, pools.let_go)
            return RetryingStore(
                threaded,
                reactor,
                Random(),
                settings.retry_deadline,
                _FIRST_DELAY,
                _LONGEST_DELAY,
            )

        probing = _Probing(settings, blocking, pools, resources, self._verdicts)
        return Storage(make, probing.check, probing.traits)


@attrs.define
class _Verdicts:
    """
    What this process found out about stores.

    Attributes:
        turn: one probe at a time: exports of one store need only one.
        unsafe: a store that lost one race is not asked again until it wins.
    """

    turn: Turn = attrs.field(factory=Turn)
    unsafe: dict[str, Report] = attrs.field(factory=dict)


class _Probing:
    """Finds out whether the store keeps its promises, or did so lately."""

    log = Logger()

    def __init__(
        self,
        settings: S3VolumeSettings,
        blocking: IBlockingStore,
        pools: Pools,
        resources: Resources,
        verdicts: _Verdicts,
    ) -> None:
        self._settings = settings
        self._verdicts = verdicts
        self._blocking = blocking
        self._pools = pools
        self._in_thread = resources.call_in_thread
        name = os.path.join(resources.state_dir, "probes.json")
        self._cache = ProbeCache(name, _PROBE_AGE, time.time)

    async def check(self, store: IObjectStore) -> None:
        """
        Raises:
            ExportUnavailable: it does not, and that is not allowed.
            StoreError: it cannot be asked.
        """
        where = store.describe()
        key = cache_key(where, self._settings.store())
        async with self._verdicts.turn:
            report = await self._report(store, key)
        refused = refusal(report, self._settings.allow_unsafe)
        if refused is not None:
            raise ExportUnavailable(refused)
        for name in report.unsafe:
            self.log.warn(
                "{store} is used although it lacks {name}: {seen}",
                store=where,
                name=name,
                seen=report.seen[name],
            )

    async def traits(self, store: IObjectStore) -> list[StoreTrait]:
        """
        Try the store now, whatever is known of it.

        Raises:
            StoreError: it cannot be asked.
        """
        report = await self._probe(store)
        found = [
            StoreTrait(name, name not in report.unsafe, True, report.seen.get(name, well))
            for name, well in _WELL.items()
        ]
        return [*found, *(StoreTrait("note", None, False, text) for text in report.warnings)]

    async def _report(self, store: IObjectStore, key: str) -> Report:
        known = self._verdicts.unsafe.get(key)
        if known is not None:
            return known
        kept: Report | None = await self._in_thread(self._cache.find, key)
        if kept is not None:
            return kept
        report = await self._probe(store)
        if report.unsafe:
            self._verdicts.unsafe[key] = report
        await self._in_thread(self._cache.keep, key, report)
        return report

    async def _probe(self, store: IObjectStore) -> Report:
        self.log.info("trying whether {store} is safe for volumes", store=store.describe())
        facts: Any = getattr(self._blocking, "facts", None)
        ask: Any = None
        if facts is not None:
            ask = partial(self._pools.reads.call, facts)
        # In the volume's own folder: credentials may be good for nothing else.
        folder = f"{self._settings.prefix}/"
        report = await probe(store, folder, os.urandom(16).hex(), time.time, ask)
        for warning in report.warnings:
            self.log.warn("{store}: {warning}", store=store.describe(), warning=warning)
        return report


def _endpoint(url: str | None) -> str:
    """The same text for the same endpoint, as far as its URL tells."""
    if url is None or "@" in url:
        return ""  # AWS; or a URL with a password, which is refused and must not be quoted
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path}"
