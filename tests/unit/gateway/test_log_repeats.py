"""Complaints that come again and again."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel

from gateway.log_repeats import QUIET, Repeats


class Log:
    """What was passed on, as (text, repeated)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []
        self.repeats = Repeats(lambda event: self.lines.append(self._seen(event)))

    @staticmethod
    def _seen(event: Any) -> tuple[str, int]:
        return event["log_format"], event.get("repeated", 0)

    def say(self, text: str, at: float, level: Any = LogLevel.error) -> None:
        self.repeats({"log_format": text, "log_level": level, "log_time": at})


def test_a_complaint_is_said_once_and_then_with_its_number() -> None:
    """The first is never delayed."""
    log = Log()
    for at in (0.0, 1.0, 2.0, QUIET):
        log.say("no disk", at)
    assert log.lines == [("no disk", 0), ("no disk", 2)]


def test_the_number_is_told_by_whatever_is_said_next() -> None:
    """Even if the complaint does not come again; the last of them stands for itself."""
    log = Log()
    for at in (0.0, 1.0, 2.0):
        log.say("no disk", at)
    log.say("a client came", QUIET + 1, LogLevel.info)
    assert log.lines == [("no disk", 0), ("no disk", 1), ("a client came", 0)]


def test_other_words_and_news_are_not_held_back() -> None:
    """Only warnings and worse are ever counted."""
    log = Log()
    log.say("no disk", 0.0)
    log.say("no room", 0.0)
    log.say("hello", 0.0, LogLevel.info)
    log.say("hello", 0.0, LogLevel.info)
    assert log.lines == [("no disk", 0), ("no room", 0), ("hello", 0), ("hello", 0)]


def test_memory_is_bounded() -> None:
    """A complaint with an ever new number in it is not a repetition."""
    log = Log()
    for number in range(10_000):
        log.say(f"no disk {number}", 0.0)
    assert len(log.lines) == 10_000
    assert len(log.repeats._said) <= 256


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    """Wall time may jump."""
    log = Log()
    log.say("no disk", 5000.0)
    log.say("no disk", 1.0)
    assert log.lines == [("no disk", 0), ("no disk", 0)]


def test_what_was_only_counted_is_said_at_the_end() -> None:
    """Nothing is lost when the process ends."""
    log = Log()
    for at in (0.0, 1.0, 2.0):
        log.say("no disk", at)
    log.repeats.flush()
    log.repeats.flush()
    assert log.lines == [("no disk", 0), ("no disk", 1)]
