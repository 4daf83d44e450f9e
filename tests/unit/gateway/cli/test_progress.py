"""How far long work is, on a terminal, elsewhere, and for nobody."""

from __future__ import annotations

import io

import pytest

from gateway.cli.progress import shown


class Screen(io.StringIO):
    """A text that may pass for a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Stop(Exception):
    """Somebody has had enough."""


def test_without_a_terminal_there_is_a_line_every_ten_seconds() -> None:
    """With what is done, the rate, and the time left."""
    screen, now = Screen(False), [100.0]
    with shown("deleting", screen, clock=lambda: now[0]) as tell:
        for second in range(31):
            now[0] = 100.0 + second
            tell(second << 20, 60 << 20, "bytes")
    lines = screen.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("deleting:") and "10.0M/60.0M" in lines[0]
    assert "00:10<00:50" in lines[0] and "1.05MB/s" in lines[0]


def test_work_of_unknown_length_has_no_time_left() -> None:
    """Only what is done, and the rate."""
    screen, now = Screen(False), [0.0]
    with shown("looking", screen, clock=lambda: now[0]) as tell:
        tell(0, None, "objects")
        now[0] = 10.0
        tell(50, None, "objects")
    (line,) = screen.getvalue().splitlines()
    assert "50 objects" in line and "5.00 objects/s" in line


def test_on_a_terminal_there_is_a_bar_that_goes() -> None:
    """Drawn over itself."""
    screen = Screen(True)
    with shown("deleting", screen) as tell:
        tell(0, 10, "objects")
        tell(10, 10, "objects")
    drawn = screen.getvalue()
    assert "deleting" in drawn and "\r" in drawn
    assert not drawn.endswith("\n")


def test_quiet_is_quiet() -> None:
    """Terminal or not."""
    for terminal in (False, True):
        screen = Screen(terminal)
        with shown("deleting", screen, quiet=True) as tell:
            tell(10, 10, "objects")
        assert screen.getvalue() == ""


def test_work_ends_where_it_can_be_gone_on_with() -> None:
    """The next call of whoever works raises what the check does."""

    def check() -> None:
        raise Stop

    with pytest.raises(Stop), shown("deleting", Screen(False), check=check) as tell:
        tell(1, 2, "objects")
