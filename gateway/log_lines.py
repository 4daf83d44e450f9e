"""
One line of the log from one event: for people, or as JSON for programs.

What the fields are called is promised in docs/reference/log.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from twisted.logger import LogLevel, eventAsText
from twisted.python.failure import Failure

Event: TypeAlias = "Mapping[str, Any]"

#: Characters of one value; texts that clients or stores sent are cut.
LIMIT = 2000

#: By level: the numbers of syslog, which the journal reads from the start of a line.
_PRIORITY = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}

#: Of an event, what is no field of its own: what we set, what `twisted.python.log` does, and
#: what only stands in for a part of a sentence.
_NO_FIELDS = frozenset(
    "message isError system time format failure printed args event level logger traceback"
    " more line versions".split()
)

#: Two words that messages use where the field is called ``error``.
_ERRORS = ("reason", "why")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_text(event: Event, *, timed: bool = True) -> str:
    """
    For people: when, how grave, what; further lines are indented.

    Args:
        timed: False where whoever reads the lines notes the time by itself.
    """
    text = _printable(message(event)).replace("\n", "\n\t")
    if not text:
        return ""
    trace = _traceback(event)
    if trace:
        text += "\n\t" + _printable(trace).replace("\n", "\n\t")
    line = f"{_level(event).name:<8} {text}\n"
    if not timed:
        return line
    moment = datetime.fromtimestamp(_when(event)).astimezone()
    return f"{moment.isoformat(' ', 'seconds')} {line}"


def as_json(event: Event) -> str:
    """For programs: one object, in ASCII; see docs/reference/log.md."""
    sentence = message(event)
    if not sentence:
        return ""
    moment = datetime.fromtimestamp(_when(event), UTC).isoformat(timespec="milliseconds")
    fields: dict[str, Any] = {
        "time": moment.replace("+00:00", "Z"),
        "level": _level(event).name,
        "event": sentence[:LIMIT],
        "logger": event.get("log_namespace", "") or "twisted",
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _NO_FIELDS and value is not None:
            fields["error" if name in _ERRORS else name] = _plain(value)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        fields.setdefault("error", _plain(f"{type(failure.value).__name__}: {failure.value}"))
        fields["traceback"] = _traceback(event)
    return json.dumps(fields) + "\n"


def prioritized(line: Callable[[Event], str]) -> Callable[[Event], str]:
    """With each line's priority in front, as sd-daemon(3) has it; the journal takes it off."""

    def with_priority(event: Event) -> str:
        mark = f"<{_PRIORITY.get(_level(event), 6)}>"
        # Each line of a traceback is an entry of its own in the journal.
        return "".join(mark + part for part in line(event).splitlines(keepends=True))

    return with_priority


def message(event: Event) -> str:
    """The sentence, without a traceback."""
    if "log_failure" in event and not event.get("log_format"):
        return "an error that nobody expected"
    text = eventAsText(
        dict(event), includeTraceback=False, includeTimestamp=False, includeSystem=False
    )
    repeated = event.get("repeated", 0)
    return f"{text} ({repeated} more like it since it was last said)" if repeated else text


def _traceback(event: Event) -> str:
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    # Never with the values of variables: they may be secret.
    return failure.getTraceback().rstrip()


def _level(event: Event) -> Any:
    return event.get("log_level") or LogLevel.info


def _when(event: Event) -> float:
    return float(event.get("log_time") or 0.0)


def _plain(value: Any) -> Any:
    """What JSON can hold, and any reader of JSON can read."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    text = str(value)
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"


def _printable(text: str) -> str:
    """Without what moves a terminal's cursor."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
