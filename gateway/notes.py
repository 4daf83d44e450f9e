"""Notes on how far a copy came, so that it can be gone on with."""

from __future__ import annotations

import json
import os
from typing import Any

import attrs


@attrs.frozen
class Note:
    """
    One note, in a file. All methods block.

    Attributes:
        path: of the file.
        about: what was copied to what, as plain values; a note about something else does not
            count.
    """

    path: str
    about: dict[str, Any]

    def read(self) -> int | None:
        """Bytes that are copied; None if there is no such note."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or found.get("about") != self.about:
            return None
        reached = found.get("reached")
        return reached if isinstance(reached, int) and reached >= 0 else None

    def write(self, reached: int) -> None:
        """
        Note that so many bytes are durable.

        Raises:
            OSError: there is no place for it.
        """
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        beside = f"{self.path}.new"
        with open(beside, "w", encoding="utf-8") as file:
            json.dump({"about": self.about, "reached": reached}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)

    def forget(self) -> None:
        """It is done, or begun anew."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
