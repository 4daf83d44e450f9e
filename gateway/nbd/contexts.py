"""
Metadata contexts: which there are, which a query selects, and their status words.

Source: proto.md, "Metadata querying"; ``qemu:allocation-depth`` from qemu's
``docs/interop/nbd.txt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.info import Extent
from gateway.nbd.constants import NBD_STATE_HOLE, NBD_STATE_ZERO


@dataclass(frozen=True, slots=True)
class Context:
    """
    One metadata context.

    Attributes:
        id: chosen by us, opaque to the client; not counted from zero, so that
            a client that assumes zero fails early.
        name: ``namespace:leaf``.
        word: the status word of an extent.
    """

    id: int
    name: str
    word: Callable[[Extent], int]


def _allocation_word(extent: Extent) -> int:
    """HOLE only with ZERO: clients skip a hole that is not zero as undefined."""
    if not extent.zero:
        return 0
    return NBD_STATE_ZERO | NBD_STATE_HOLE if extent.hole else NBD_STATE_ZERO


def _depth_word(extent: Extent) -> int:
    """The layer that supplies the data: 0 for none, 1 for the only one."""
    return 0 if extent.hole else 1


BASE_ALLOCATION = Context(17, "base:allocation", _allocation_word)
ALLOCATION_DEPTH = Context(18, "qemu:allocation-depth", _depth_word)

CONTEXTS = (BASE_ALLOCATION, ALLOCATION_DEPTH)


def matching(
    queries: Iterable[str], available: Iterable[Context], wildcards: bool
) -> list[Context]:
    """
    The contexts that queries name, each once, in our order.

    Args:
        wildcards: ``namespace:`` matches all leaves, as in LIST; SET ignores it.
    """
    wanted = set(queries)
    return [
        context
        for context in available
        if context.name in wanted or (wildcards and context.name.partition(":")[0] + ":" in wanted)
    ]


def status_words(
    extents: Iterable[Extent], context: Context, length: int, longest: int, cap: int
) -> list[tuple[int, int]]:
    """
    The descriptors of one block status reply.

    Neighbours with equal words are merged; the list ends with the descriptor
    that reaches ``length``, at ``cap`` descriptors, or where one had to be cut.

    Args:
        length: bytes asked for.
        longest: bytes, the longest run one descriptor may describe.

    Returns:
        At least one ``(bytes, word)``.
    """
    words: list[tuple[int, int]] = []
    covered = 0
    for extent in extents:
        word = context.word(extent)
        run = extent.length
        if words and words[-1][1] == word:
            run += words[-1][0]
            words.pop()
        elif covered >= length or len(words) == cap:
            break
        covered += extent.length
        if run > longest:
            words.append((longest, word))
            break
        words.append((run, word))
    return words
