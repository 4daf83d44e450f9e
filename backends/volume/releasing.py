"""An export that lets go of what lies under it when it is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import Interface, directlyProvides, providedBy
from zope.interface.interface import Method

from gateway.info import ExportInfo
from gateway.interfaces import IExport


def releasing(export: IExport, release: Callable[[], Awaitable[None]], *more: Interface) -> IExport:
    """
    An export that provides whatever ``export`` does.

    Args:
        export: it is closed first; however that ends, what is under it goes too.
        release: lets go of what is under it; called once.
        more: what it provides as well, each an object that does the work.
    """
    made: Any = _Releasing(export, release, *more)
    return made  # type: ignore[no-any-return]


class _Releasing:
    """What `releasing` makes."""

    def __init__(
        self, export: IExport, release: Callable[[], Awaitable[None]], *more: Interface
    ) -> None:
        self._export = export
        self._release = release
        self._closing: Deferred[None] | None = None
        # Its own methods, not ones that pass on: requests come this way.
        for part in (export, *more):
            for interface in providedBy(part):
                for name in interface.names(all=True):
                    if name != "close" and isinstance(interface[name], Method):
                        setattr(self, name, getattr(part, name))
        directlyProvides(self, *map(providedBy, (export, *more)))

    @property
    def info(self) -> ExportInfo:
        """As `IExport.info`."""
        info: ExportInfo = self._export.info
        return info

    def close(self) -> Deferred[None]:
        """As `IExport.close`; the first caller hears how it ended."""
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._close())
        answer: Deferred[None] = Deferred()

        def done(result: Any) -> None:
            answer.callback(result)  # a failure as well

        self._closing.addBoth(done)
        return answer

    async def _close(self) -> None:
        try:
            await maybeDeferred(self._export.close)
        finally:
            await self._release()
