"""
Metadata contexts: which there are, which a query selects, and their status words.

Two contexts every export has. An export that knows what was changed since
some points in time has two more for each of them, with one meaning: ours, and
the one that qemu and tools for backups look for.

Source: proto.md, "Metadata querying"; ``qemu:allocation-depth`` and
``qemu:dirty-bitmap`` from qemu's ``docs/interop/nbd.txt``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.info import Change, Extent
from gateway.nbd.constants import NBD_STATE_DIRTY, NBD_STATE_HOLE, NBD_STATE_ZERO
from gateway.nbd.limits import MAX_STRING


@dataclass(frozen=True, slots=True)
class Context:
    """
    One metadata context.

    Attributes:
        id: chosen by us, opaque to the client; not counted from zero, so that
            a client that assumes zero fails early.
        name: ``namespace:leaf``.
        word: the status word of a run: of an `Extent`, or of a `Change` if
            there is a ``reference``.
        wildcards: the queries that list it along with others.
        reference: the point in time since which it tells changes, or None.
    """

    id: int
    name: str
    word: Callable[[Any], int]
    wildcards: tuple[str, ...]
    reference: str | None = None


def _allocation_word(extent: Extent) -> int:
    """HOLE only with ZERO: clients skip a hole that is not zero as undefined."""
    if not extent.zero:
        return 0
    return NBD_STATE_ZERO | NBD_STATE_HOLE if extent.hole else NBD_STATE_ZERO


def _depth_word(extent: Extent) -> int:
    """The layer that supplies the data: 0 for none, 1 for the only one."""
    return 0 if extent.hole else 1


def _dirty_word(change: Change) -> int:
    return NBD_STATE_DIRTY if change.dirty else 0


BASE_ALLOCATION = Context(17, "base:allocation", _allocation_word, ("base:",))
ALLOCATION_DEPTH = Context(18, "qemu:allocation-depth", _depth_word, ("qemu:",))

#: What every export has.
CONTEXTS = (BASE_ALLOCATION, ALLOCATION_DEPTH)

#: Namespace and the part before a reference's name. That may hold colons: no
#: query is split at any other than these.
_CHANGED = (("x-nbdgateway:", "changed:"), ("qemu:", "dirty-bitmap:"))


def available(references: Iterable[str]) -> tuple[Context, ...]:
    """
    All contexts of an export, ids included.

    Args:
        references: points in time since which its changes are known. One
            whose contexts the protocol has no names for is left out.
    """
    ids = itertools.count(ALLOCATION_DEPTH.id + 1)
    changed = (
        Context(
            next(ids),
            namespace + kind + reference,
            _dirty_word,
            (namespace, namespace + kind),
            reference,
        )
        for reference in dict.fromkeys(references)
        if _nameable(reference)
        for namespace, kind in _CHANGED
    )
    return (*CONTEXTS, *changed)


def _nameable(reference: str) -> bool:
    """Not empty, which would be a wildcard, and a string of the protocol with what precedes it."""
    if not reference or "\0" in reference:
        return False
    try:
        length = len(reference.encode())
    except UnicodeEncodeError:
        return False
    return all(len(namespace + kind) + length <= MAX_STRING for namespace, kind in _CHANGED)


def matching(
    queries: Iterable[str], contexts: Iterable[Context], wildcards: bool
) -> tuple[Context, ...]:
    """
    The contexts that queries name, each once, in our order.

    Args:
        wildcards: ``namespace:`` matches all leaves, as in LIST; SET ignores it.
    """
    wanted = set(queries)
    return tuple(
        context
        for context in contexts
        if context.name in wanted or (wildcards and not wanted.isdisjoint(context.wildcards))
    )


def status_words(
    runs: Iterable[Extent | Change], context: Context, length: int, longest: int, cap: int
) -> list[tuple[int, int]]:
    """
    The descriptors of one block status reply.

    Neighbours with equal words are merged; the list ends with the descriptor
    that reaches ``length``, at ``cap`` descriptors, or where one had to be cut.

    Args:
        runs: of the kind that the context tells about.
        length: bytes asked for.
        longest: bytes, the longest run one descriptor may describe.

    Returns:
        At least one ``(bytes, word)``.
    """
    words: list[tuple[int, int]] = []
    covered = 0
    for state in runs:
        word = context.word(state)
        run = state.length
        if words and words[-1][1] == word:
            run += words[-1][0]
            words.pop()
        elif covered >= length or len(words) == cap:
            break
        covered += state.length
        if run > longest:
            words.append((longest, word))
            break
        words.append((run, word))
    return words
