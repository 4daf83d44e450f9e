"""
What a scrub came to, as metrics in a file.

A scrub is done beside the gateway, perhaps on another machine: its metrics go the way that
Prometheus has for such work, the textfile collector of its node exporter.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from gateway.cli.exits import wrong
from gateway.maintenance import Severity, Verdict
from gateway.measures import SCRUB_FINDINGS, SCRUB_TIME


def check(path: str) -> None:
    """
    Raises:
        Failure: no file can be put there for the collector; known before hours of work.
    """
    folder = Path(path).parent
    if not path.endswith(".prom"):
        raise wrong(f"{path}: expected a name that ends in .prom; the collector reads no other")
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise wrong(f"{path}: expected a folder that can be written to, {folder} is none")


def write(path: str, volume: str, verdict: Verdict, now: float) -> None:
    """
    Replace the file at once, so that the collector never reads half of it.

    Args:
        volume: its address.
        now: seconds since 1970.

    Raises:
        Failure: it cannot be written.
    """
    # Late: no other command needs it, and all would wait for it.
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()
    time, findings = (
        Gauge(one.full_name, one.help, one.labels, registry=registry)
        for one in (SCRUB_TIME, SCRUB_FINDINGS)
    )
    time.labels(volume).set(now)
    counts = Counter(one.severity for one in verdict.findings)
    for severity in Severity:
        findings.labels(volume, severity.value).set(counts[severity])
    try:
        write_to_textfile(path, registry)
    except OSError as error:
        raise wrong(f"{path}: {error.strerror}") from None
