"""Asking storage what one block status tells about: extents, and changes since points in time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from gateway.interfaces import IExport


async def runs_since(
    references: Iterable[str | None], export: IExport, offset: int, length: int, first_only: bool
) -> dict[str | None, list[Any]]:
    """
    What is known of a range, by reference; one question after the other.

    A client may have selected many contexts: asking for all of them at once
    would let it have many times as much in flight as its requests show.

    Args:
        references: each once; None stands for the extents, any other takes an
            `IChangedBlocks`.
        offset, length: bytes.
        first_only: only the first run of each is wanted.

    Returns:
        Lists of `gateway.info.Extent` under None, else of `gateway.info.Change`.

    Raises:
        StorageError: one of them cannot be told; then none is.
    """
    runs: dict[str | None, list[Any]] = {}
    changes: Any = export
    for reference in references:
        if reference is None:
            answer = export.extents(offset, length, first_only)
        else:
            answer = changes.changed(reference, offset, length, first_only)
        runs[reference] = await answer if isinstance(answer, Deferred) else answer
    return runs
