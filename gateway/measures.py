"""
What can be measured, by name: the vocabulary of ``/metrics``, and how storage tells its part.

Every name, label and help text stands here, so that dashboards can rely on
them whatever serves the disks, and nobody can make a label that grows with
clients: the values of each are listed, or are names in the configuration.
Units are base units: seconds, bytes, ratios from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zope.interface import Interface

from gateway.maintenance import Severity
from gateway.traffic import ERRORS, FAILURES, OPS

#: Before every name.
PREFIX = "nbdgw_"

COUNTER, GAUGE, HISTOGRAM, INFO = "counter", "gauge", "histogram", "info"

VERBS = ("put", "get", "head", "list", "delete")
CODES = ("ok", "not_found", "exists", "refused", "transient", "garbled", "failed")
#: Of a round of the collector.
OUTCOMES = ("emptied", "nothing_to_do", "failed")

#: The values of labels; None where they are names in the configuration, or versions.
LABELS: dict[str, tuple[str, ...] | None] = {
    "export": None,
    "listener": None,
    "protocol": ("nbd", "http"),
    "op": OPS,
    "error": ERRORS,
    "reason": FAILURES,
    "result": ("accepted", "turned_away"),
    "verb": VERBS,
    "code": CODES,
    "direction": ("up", "down"),
    "cache": ("memory", "disk"),
    "outcome": OUTCOMES,
    "volume": None,
    "severity": tuple(severity.value for severity in Severity),
    "version": None,
    "twisted": None,
    "boto3": None,
}


@dataclass(frozen=True, slots=True)
class Measure:
    """
    Something that is measured.

    Attributes:
        name: without `PREFIX`, and without the ``_total`` of counters.
        kind: `COUNTER`, `GAUGE`, `HISTOGRAM` or `INFO`.
        help: one sentence for people.
        labels: keys of `LABELS`.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is exposed."""
        ending = {COUNTER: "_total", INFO: "_info"}.get(self.kind, "")
        return f"{PREFIX}{self.name}{ending}"


@dataclass(frozen=True, slots=True)
class Buckets:
    """
    The value of a histogram.

    Attributes:
        bounds: of all buckets but the last, ascending.
        counts: in each bucket alone, one more than there are bounds.
        sum: of all that was observed.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One measure as it is now.

    Attributes:
        labels: values, in the order of the measure's labels. Storage leaves
            ``export`` out, which the gateway knows.
    """

    measure: Measure
    value: float | Buckets
    labels: tuple[str, ...] = ()


class IMeasured(Interface):
    """What an `IExport` may provide as well: what is known of it without asking anybody."""

    def measures() -> Iterable[Sample]:
        """Of `STORAGE`, each with the same labels once. Quick, and never fails."""

    def trouble() -> str | None:
        """Why changes fail, for people; None while they do not."""


# What clients do.

_BY_OP = ("protocol", "export", "op")

REQUESTS = Measure("requests", COUNTER, "Requests of clients, begun or refused.", _BY_OP)
REQUEST_BYTES = Measure(
    "request_bytes", COUNTER, "Bytes that requests were about, as clients asked.", _BY_OP
)
REQUEST_ERRORS = Measure(
    "request_errors",
    COUNTER,
    "Requests that were answered with an error; not_supported are fast zeroes declined.",
    ("protocol", "export", "error"),
)
REQUEST_SECONDS = Measure(
    "request_seconds",
    HISTOGRAM,
    "Time from a request's begin to storage's answer; answers given at once count in the first"
    " bucket, and nothing in the sum.",
    _BY_OP,
)
IN_FLIGHT = Measure(
    "inflight_requests", GAUGE, "Requests that storage has not answered.", ("protocol", "export")
)
CONNECTIONS = Measure(
    "connections", GAUGE, "Clients that use an export now.", ("protocol", "export")
)
CONNECTIONS_EVER = Measure(
    "accepted_connections", COUNTER, "Connections that were made.", ("protocol", "result")
)
HANDSHAKE_FAILURES = Measure(
    "handshake_failures",
    COUNTER,
    "Attempts to use an export that came to nothing.",
    ("protocol", "reason"),
)

# The gateway.

BUILD = Measure("build", INFO, "What runs.", ("version", "twisted", "boto3"))
STARTED = Measure(
    "start_timestamp_seconds", GAUGE, "When the gateway started, in seconds since 1970."
)
RELOADED = Measure(
    "config_last_reload_success_timestamp_seconds",
    GAUGE,
    "When the configuration in use was read, in seconds since 1970.",
)
RELOAD_OK = Measure(
    "config_last_reload_successful", GAUGE, "Whether the last reload was taken, 1 or 0."
)
CERTIFICATE = Measure(
    "tls_certificate_expiry_timestamp_seconds",
    GAUGE,
    "When a listener's certificate ends, in seconds since 1970.",
    ("listener",),
)
EXPORT_UP = Measure("export_open", GAUGE, "Whether an export is open, 1 or 0.", ("export",))
EXPORT_SIZE = Measure("export_size_bytes", GAUGE, "Size of an open export.", ("export",))

GATEWAY = (
    REQUESTS,
    REQUEST_BYTES,
    REQUEST_ERRORS,
    REQUEST_SECONDS,
    IN_FLIGHT,
    CONNECTIONS,
    CONNECTIONS_EVER,
    HANDSHAKE_FAILURES,
    BUILD,
    STARTED,
    RELOADED,
    RELOAD_OK,
    CERTIFICATE,
    EXPORT_UP,
    EXPORT_SIZE,
)

# What storage knows of an export; the names of S3 also for other object stores.

_EXPORT = ("export",)

S3_REQUESTS = Measure(
    "s3_requests",
    COUNTER,
    "Requests to the object store, every attempt, by outcome; each costs money.",
    ("export", "verb", "code"),
)
S3_SECONDS = Measure(
    "s3_request_seconds",
    HISTOGRAM,
    "Time of single requests to the object store.",
    ("export", "verb"),
)
S3_BYTES = Measure(
    "s3_bytes", COUNTER, "Bytes put to and got from the object store.", ("export", "direction")
)
S3_RETRIES = Measure(
    "s3_retries", COUNTER, "Requests made again after a failure.", ("export", "verb")
)
S3_CONFLICTS = Measure(
    "s3_conditional_conflicts",
    COUNTER,
    "Puts that found their name taken: by an earlier attempt of ours, or by another gateway.",
    _EXPORT,
)
VOLUME_SIZE = Measure("volume_size_bytes", GAUGE, "Size of the volume's disk.", _EXPORT)
VOLUME_DIRTY = Measure(
    "volume_dirty_bytes", GAUGE, "Memory of changes that the map does not hold yet.", _EXPORT
)
VOLUME_OLDEST_DIRTY = Measure(
    "volume_oldest_dirty_seconds",
    GAUGE,
    "Age of the oldest change that the store does not have: what losing this machine would cost.",
    _EXPORT,
)
VOLUME_LIVE = Measure(
    "volume_live_bytes",
    GAUGE,
    "Data that the disk refers to, before compression, with what a clone has from its parent.",
    _EXPORT,
)
VOLUME_DEAD = Measure(
    "volume_dead_bytes",
    GAUGE,
    "Data in the volume's own objects that the disk refers to no more, before compression;"
    " snapshots may need it.",
    _EXPORT,
)
VOLUME_OBJECTS = Measure("volume_objects", GAUGE, "Objects of data the map knows of.", _EXPORT)
VOLUME_FENCED = Measure(
    "volume_fenced", GAUGE, "Whether another gateway has taken the volume over, 1 or 0.", _EXPORT
)
VOLUME_FAILED = Measure(
    "volume_failed", GAUGE, "Whether changes of the volume fail, 1 or 0.", _EXPORT
)
LAST_FLUSH = Measure(
    "last_flush_timestamp_seconds",
    GAUGE,
    "When a flush was last carried out, in seconds since 1970; 0 if none was.",
    _EXPORT,
)
JOURNAL_USED = Measure(
    "journal_used_ratio", GAUGE, "How full the journal is; writes wait at 1.", _EXPORT
)
JOURNAL_FAILED = Measure(
    "journal_failed", GAUGE, "Whether the journal is given up, so that flushes go to the store.",
    _EXPORT,
)  # fmt: skip
CACHE_HITS = Measure(
    "cache_hits", COUNTER, "Frames found in a cache; that on disk is shared.", ("export", "cache")
)
CACHE_MISSES = Measure("cache_misses", COUNTER, "Frames not found in a cache.", ("export", "cache"))
CACHE_BYTES = Measure("cache_bytes", GAUGE, "Bytes of data in the memory cache.", _EXPORT)
GC_RUNS = Measure(
    "gc_runs", COUNTER, "Rounds of the collector; each empties some objects.", ("export", "outcome")
)
GC_BACKLOG = Measure(
    "gc_backlog_bytes",
    GAUGE,
    "The part of the dead bytes that no snapshot may need, when the collector last looked, after"
    " a checkpoint. It lets some be: see gc_begin.",
    _EXPORT,
)
GC_MOVED = Measure(
    "gc_moved_bytes", COUNTER, "Bytes that the collector moved to free objects.", _EXPORT
)
MAP_EXTENTS = Measure(
    "map_extents", GAUGE, "Extents of the volume's map that are in memory.", _EXPORT
)
MAP_MEMORY = Measure(
    "map_memory_bytes", GAUGE, "Memory of the volume's map, estimated; see map_memory.", _EXPORT
)
CRC_ERRORS = Measure(
    "crc_errors", COUNTER, "Objects found damaged or missing while reading.", _EXPORT
)
ZERO_AVOIDED = Measure(
    "zero_bytes_avoided",
    COUNTER,
    "Bytes of zeroes that clients wrote or asked for and that were not sent to the store.",
    _EXPORT,
)

# What `nbdgateway scrub` writes to a file.

SCRUB_TIME = Measure(
    "last_scrub_timestamp_seconds",
    GAUGE,
    "When a scrub of a volume last came to its end, in seconds since 1970.",
    ("volume",),
)
SCRUB_FINDINGS = Measure(
    "last_scrub_findings", GAUGE, "What that scrub found.", ("volume", "severity")
)

SCRUB = (SCRUB_TIME, SCRUB_FINDINGS)

STORAGE = (
    S3_REQUESTS,
    S3_SECONDS,
    S3_BYTES,
    S3_RETRIES,
    S3_CONFLICTS,
    VOLUME_SIZE,
    VOLUME_DIRTY,
    VOLUME_OLDEST_DIRTY,
    VOLUME_LIVE,
    VOLUME_DEAD,
    VOLUME_OBJECTS,
    VOLUME_FENCED,
    VOLUME_FAILED,
    LAST_FLUSH,
    JOURNAL_USED,
    JOURNAL_FAILED,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_BYTES,
    GC_RUNS,
    GC_BACKLOG,
    GC_MOVED,
    MAP_EXTENTS,
    MAP_MEMORY,
    CRC_ERRORS,
    ZERO_AVOIDED,
)

ALL = (*GATEWAY, *STORAGE, *SCRUB)
