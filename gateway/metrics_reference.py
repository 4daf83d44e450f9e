"""The reference page of the metrics, from the vocabulary that they are made of."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gateway.measures import GATEWAY, LABELS, SCRUB, STORAGE, Measure

_INTRODUCTION = """\
<!-- Made by `python -m gateway.metrics_reference`; not to be changed by hand. -->

# Metrics

`/metrics` of a [listener for HTTP](http.md) answers in the text format 0.0.4 of
Prometheus, and in OpenMetrics to those that ask for it. Names begin with
`nbdgw_`; units are seconds, bytes, and ratios from 0 to 1. Labels have values
from lists or from the configuration, so that clients cannot add to them: what
is done with a snapshot, `EXPORT@SNAPSHOT`, counts for its export.

Counters begin at 0 when the gateway starts; those of storage when the export is
opened. The exposition is made in a thread of its own and does not wait for
storage.

The alert to begin with is `nbdgw_volume_oldest_dirty_seconds`: how much work is
lost if this machine never comes back. Without trouble it stays near the
volume's `upload_delay`.
"""

_GATEWAY = "Of every gateway:\n"

_STORAGE = """\
Of exports whose storage tells them: volumes, in buckets and in directories. What
is named for S3 counts requests to any object store.
"""

_SCRUB = """\
A [scrub](../howto/check-and-repair.md) is done beside the gateway, and `/metrics` does
not know of it. `nbdgateway scrub --metrics FILE` writes these for the textfile
collector of Prometheus' node exporter when it has come to its end:
"""

_LABELS = "An empty right side means names from the configuration, addresses, or versions.\n"


def page() -> str:
    """The page in Markdown."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Clients and the gateway\n",
            _GATEWAY,
            _table(GATEWAY),
            "## Storage\n",
            _STORAGE,
            _table(STORAGE),
            "## Scrubs\n",
            _SCRUB,
            _table(SCRUB),
            "## Labels\n",
            _LABELS,
            "| label | values |\n|---|---|",
            *(f"| `{label}` | {_values(values)} |" for label, values in LABELS.items()),
            "",
        ]
    )


def _table(measures: Iterable[Measure]) -> str:
    rows = ["| name | kind | labels | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{one.full_name}` | {one.kind} | {_values(one.labels)} | {one.help} |"
        for one in measures
    ]
    return "\n".join(rows) + "\n"


def _values(words: Iterable[str] | None) -> str:
    return ", ".join(f"`{word}`" for word in words or ())


if __name__ == "__main__":
    sys.stdout.write(page())
