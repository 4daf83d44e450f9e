"""Block status: what storage is asked for, and how its answer is told in each context."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from gateway.interfaces import IExport
from gateway.nbd import constants as c
from gateway.nbd.contexts import Context, status_words
from gateway.nbd.limits import EXTENT_CAP
from gateway.nbd.replies import SimpleReplies
from gateway.nbd.requests import Request


class BlockStatus:
    """
    Block statuses of one connection.

    Args:
        contexts: those that the client selected.
        replies: which the answers go to.
    """

    def __init__(
        self, contexts: tuple[Context, ...], export: IExport, replies: SimpleReplies
    ) -> None:
        self._contexts = contexts
        self._export = export
        self._replies = replies

    def ask(self, request: Request) -> Any:
        """What storage says, for `tell`; perhaps later."""
        first_only = bool(request.flags & c.NBD_CMD_FLAG_REQ_ONE)
        references = dict.fromkeys(context.reference for context in self._asked(request))
        if references.keys() == {None}:
            # The usual case without a detour.
            return self._export.extents(request.offset, request.length, first_only)
        return Deferred.fromCoroutine(
            runs_since(references, self._export, request.offset, request.length, first_only)
        )

    def tell(self, said: Any, request: Request) -> None:
        """Answer a request with what storage said."""
        runs = said if isinstance(said, dict) else {None: said}
        replies = self._replies
        contexts = self._asked(request)
        longest, cap = replies.longest_status, EXTENT_CAP // len(contexts)
        if request.flags & c.NBD_CMD_FLAG_REQ_ONE:
            longest, cap = min(longest, request.length), 1
        for context in contexts:
            words = status_words(runs[context.reference], context, request.length, longest, cap)
            replies.status(request, context.id, words, context is contexts[-1])

    def _asked(self, request: Request) -> list[Context]:
        """The contexts that a request is about."""
        ids = request.context_ids
        return [context for context in self._contexts if ids is None or context.id in ids]


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
