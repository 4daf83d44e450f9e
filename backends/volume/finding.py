"""Finding the volumes in a store without listing all that they consist of."""

from __future__ import annotations

import re

from backends.objects.contract import PAGE, IObjectStore

#: A key of a volume, by the folder that it is in; see `backends.volume.names`.
_KEY = re.compile(r"(?:(?P<folder>.*?)/)?(?P<kind>ck|gc|log|probe|ref|sb)/[0-9a-f-]+(?:/.*)?")


async def folders(store: IObjectStore, prefix: str) -> list[str]:
    """
    The folders that have superblocks in them, sorted.

    One request, and about four for each large volume: what lies between is jumped over.

    Args:
        prefix: the folder to look in; empty for the whole store.

    Raises:
        StoreError: the store did not answer.
    """
    inside = f"{prefix}/" if prefix else ""
    found: set[str] = set()
    after = ""
    while True:
        page = await store.list(inside, after)
        for one in page:
            if one.key <= after:
                continue
            after = one.key
            match = _KEY.fullmatch(one.key)
            if match is None:
                continue
            folder, kind = match["folder"] or "", match["kind"]
            if kind == "sb":
                found.add(folder)
            # The first text behind all that starts with the folder of this kind and a slash.
            after = f"{folder}/{kind}0" if folder else f"{kind}0"
        if len(page) < PAGE:
            return sorted(found)
