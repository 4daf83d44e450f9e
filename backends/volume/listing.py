"""Whole listings, page after page."""

from __future__ import annotations

from backends.objects.contract import PAGE, IObjectStore, Listed


async def everything(store: IObjectStore, prefix: str, after: str = "") -> list[Listed]:
    """
    All objects under a prefix, behind a key, in order.

    Raises:
        StoreError: the store did not answer.
    """
    found: list[Listed] = []
    while True:
        page = await store.list(prefix, after)
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1].key
