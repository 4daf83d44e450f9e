"""How a gateway gets on, in one line for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.exports import ExportTable
from gateway.listeners import Listener
from gateway.sharing import count_of

#: Exports that a line names; it counts the rest.
_NAMED = 3


class StatusLine:
    """
    Lines about starting, serving and stopping; see `gateway.systemd.Progress`.

    Args:
        exports: of the gateway.
        listeners: answers with those that listen.
    """

    def __init__(
        self, exports: ExportTable, listeners: Callable[[], Mapping[str, Listener]]
    ) -> None:
        self._exports = exports
        self._listeners = listeners
        self._words: dict[str, str] = {}

    def tell(self, export: str, words: str) -> None:
        """As `gateway.interfaces.Resources.tell`."""
        if words:
            self._words[export] = words
        else:
            self._words.pop(export, None)

    def starting(self) -> str:
        """How many exports were tried, and what the others are busy with."""
        offers = self._exports.offers()
        busy = [offer.name for offer in offers if offer.opening]
        return self._line(f"opening exports, {len(offers) - len(busy)} of {len(offers)} done", busy)

    def serving(self) -> str:
        """Exports that are open, those that are not, and connections."""
        offers = self._exports.offers()
        connections = self._connections()
        shut = [offer.name for offer in offers if offer.export is None]
        line = f"serving {len(offers) - len(shut)} of {len(offers)} exports"
        line += f", {count_of(connections)} connected" if connections else ", no client connected"
        return self._line(line, shut, "not open: ")

    def stopping(self) -> str:
        """Who is still there, or which exports are still to be closed."""
        connections = self._connections()
        if connections:
            return f"stopping, {count_of(connections)} connected"
        return self._line("stopping, exports are flushed and closed", self._exports.unclosed())

    def _connections(self) -> int:
        return sum(listener.doorway.count() for listener in self._listeners().values())

    def _line(self, line: str, names: list[str], what: str = "") -> str:
        if not names:
            return line
        named = [
            f"{name} ({self._words[name]})" if name in self._words else name
            for name in names[:_NAMED]
        ]
        if len(names) > _NAMED:
            named.append(f"{len(names) - _NAMED} more")
        return f"{line}; {what}{', '.join(named)}"
