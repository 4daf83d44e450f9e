"""Reports of probes kept in a file, so that a restart does not probe again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

import attrs

from backends.objects.probe_report import Report


class ProbeCache:
    """
    A file of reports; calls block for as long as a small file takes.

    It is a convenience: one that is damaged, missing or out of reach holds
    nothing. Stores that were found unsafe are not kept, so that one that was
    mended is found so.

    Args:
        name: of the file; its directory is made when it is needed.
        age: seconds for which a report counts.
        wall: seconds since 1970.
    """

    def __init__(self, name: str, age: float, wall: Callable[[], float]) -> None:
        self._name = name
        self._age = age
        self._wall = wall

    def find(self, key: str) -> Report | None:
        """The report kept under ``key``, unless it is too old, or from the future."""
        text = self._reports().get(key)
        if not isinstance(text, str):
            return None
        try:
            report = Report.from_json(text)
        except ValueError:
            return None
        return report if self._counts(report) else None

    def keep(self, key: str, report: Report) -> None:
        """Keep a report of a safe store; forget what was kept of an unsafe one."""
        reports = {name: text for name, text in self._reports().items() if name != key}
        if not report.unsafe:
            reports[key] = report.to_json()
        try:
            self._write(json.dumps(reports, sort_keys=True))
        except OSError:
            pass  # the next start probes again

    def _counts(self, report: Report) -> bool:
        return 0 <= self._wall() - report.when < self._age

    def _reports(self) -> dict[str, Any]:
        try:
            with open(self._name, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, text: str) -> None:
        """Replace the file in one step: another gateway may be reading it."""
        directory = os.path.dirname(self._name) or "."
        os.makedirs(directory, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=directory, prefix=".probe-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(made, self._name)
        except BaseException:
            os.unlink(made)
            raise


def cache_key(store: str, settings: Any) -> str:
    """
    Names a store with its settings; another one after any change.

    Args:
        store: as it describes itself.
        settings: an attrs instance of texts, numbers and tuples.
    """
    values = json.dumps([store, attrs.asdict(settings)], sort_keys=True, default=str)
    return hashlib.sha256(values.encode()).hexdigest()
