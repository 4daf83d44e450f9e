"""Journals to test, with their disks."""

from __future__ import annotations

import pytest

from tests.doubles.journal_bench import Bench
from tests.doubles.threads import ManualThreads


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    if bench.journal is not None:
        bench.journal.close(False)


@pytest.fixture
def later(tmp_path):
    """A bench whose threads work when told."""
    bench = Bench(tmp_path, 1 << 20, ManualThreads())
    yield bench
    if bench.journal is not None:
        bench.journal.close(False)
        bench.threads.drain()
