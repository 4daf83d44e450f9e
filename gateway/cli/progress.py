"""How far long work is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from gateway.maintenance import Progress

#: Seconds between two lines where there is no terminal.
_EVERY = 10.0


@contextmanager
def shown(
    what: str,
    screen: TextIO,
    quiet: bool = False,
    check: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """
    A `Progress` that shows what it is told.

    Args:
        what: is being done, such as ``deleting``.
        screen: where.
        quiet: show nothing.
        check: called each time; what it raises ends the work.
        clock: seconds.
    """
    shows: _Quiet | _Bar | _Lines
    if quiet:
        shows = _Quiet()
    elif screen.isatty():
        shows = _Bar(what, screen)
    else:
        shows = _Lines(what, screen, clock)

    def progress(done: int, total: int | None, unit: str) -> None:
        check()
        shows.tell(done, total, unit)

    try:
        yield progress
    finally:
        shows.close()


class _Quiet:
    def tell(self, done: int, total: int | None, unit: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Bar:
    """With rate and time left; it goes when the work has ended."""

    def __init__(self, what: str, screen: TextIO) -> None:
        self._what = what
        self._screen = screen
        self._bar: Any = None

    def tell(self, done: int, total: int | None, unit: str) -> None:
        if self._bar is None:
            # Late: most commands show none, and all would wait for it.
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._what,
                total=total,
                initial=done,
                file=self._screen,
                leave=False,
                dynamic_ncols=True,
                **_scale(unit),
            )
        if self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class _Lines:
    def __init__(self, what: str, screen: TextIO, clock: Callable[[], float]) -> None:
        self._what = what
        self._screen = screen
        self._clock = clock
        self._began = self._next = clock()
        self._first: int | None = None

    def tell(self, done: int, total: int | None, unit: str) -> None:
        now = self._clock()
        if self._first is None:
            self._first, self._began, self._next = done, now, now + _EVERY
        if now < self._next:
            return
        self._next = now + _EVERY
        # Late, as above.
        from tqdm import tqdm

        line = tqdm.format_meter(
            done,
            total,
            now - self._began,
            ncols=0,
            prefix=self._what,
            initial=self._first,
            **_scale(unit),
        )
        self._screen.write(f"{line}\n")
        self._screen.flush()

    def close(self) -> None:
        pass


def _scale(unit: str) -> dict[str, object]:
    if unit == "bytes":
        return {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    return {"unit": f" {unit}"}
