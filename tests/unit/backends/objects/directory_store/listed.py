"""What a store lists, for a test to compare."""

from __future__ import annotations


def keys(store, prefix="", after=""):
    return [listed.key for listed in store.list(prefix, after)]
