"""Reports kept in a file: found while they are young, never trusted when damaged."""

from __future__ import annotations

import attrs
import pytest

from backends.objects.probe_cache import ProbeCache, cache_key
from backends.objects.probe_report import Report
from backends.objects.s3_settings import S3Settings

SAFE = Report("s3://disks", 1000.0, warnings=["versioning"])
UNSAFE = Report("s3://disks", 1000.0, ["range"], {"range": "wrong"})
DAY = 86400.0


def cache_at(name, now=1000.0) -> ProbeCache:
    return ProbeCache(str(name), DAY, lambda: now)


def test_a_report_is_found_again(tmp_path):
    """Also by the next process, and beside others."""
    name = tmp_path / "state" / "probes"
    cache_at(name).keep("a", SAFE)
    cache_at(name).keep("b", attrs.evolve(SAFE, store="s3://other"))
    assert cache_at(name).find("a") == SAFE
    assert cache_at(name).find("b") == attrs.evolve(SAFE, store="s3://other")
    assert cache_at(name).find("c") is None


@pytest.mark.parametrize(
    ("now", "counts"), [(1000.0, True), (1000.0 + DAY - 1, True), (1000.0 + DAY, False), (1, False)]
)
def test_a_report_has_an_age(tmp_path, now, counts):
    """One from the future is of a clock that was wrong."""
    name = tmp_path / "probes"
    cache_at(name).keep("a", SAFE)
    assert (cache_at(name, now).find("a") is not None) is counts


def test_an_unsafe_store_is_probed_again(tmp_path):
    """It may have been mended; and one that was safe is not any more."""
    name = tmp_path / "probes"
    cache_at(name).keep("a", SAFE)
    cache_at(name).keep("a", UNSAFE)
    assert cache_at(name).find("a") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a": 1}', '{"a": "{}"}', "\x00", "é\xff"]
)
def test_a_damaged_file_holds_nothing_and_is_replaced(tmp_path, text):
    name = tmp_path / "probes"
    name.write_bytes(text.encode("latin-1"))
    assert cache_at(name).find("a") is None
    cache_at(name).keep("a", SAFE)
    assert cache_at(name).find("a") == SAFE


def test_a_file_out_of_reach_holds_nothing(tmp_path):
    """And is no failure."""
    (tmp_path / "file").write_text("")
    cache = cache_at(tmp_path / "file" / "probes")
    cache.keep("a", SAFE)
    assert cache.find("a") is None
    taken = tmp_path / "taken"
    taken.mkdir()
    cache_at(taken).keep("a", SAFE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_a_key_names_store_and_settings():
    """Any change makes another; the same make the same."""
    settings = S3Settings(bucket="disks")
    key = cache_key("s3://disks", settings)
    assert key == cache_key("s3://disks", S3Settings(bucket="disks"))
    assert key != cache_key("s3://other", settings)
    assert key != cache_key("s3://disks", attrs.evolve(settings, checksum="md5"))
