"""A QEMU program on pipes, spoken to in QMP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.interop.clients import PATIENCE


class Qmp:
    """
    One process whose standard input and output are its monitor; as a context it ends.

    Args:
        command: the program and arguments that say so.
        directory: to run in.
    """

    def __init__(self, command: Sequence[str], directory: Path | None = None) -> None:
        self.process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []
        self._said: list[str] = []
        assert "QMP" in self._read()
        self.call("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE)

    def call(self, command: str, **arguments: Any) -> Any:
        """Run a command that has to succeed; what it returned."""
        assert self.process.stdin is not None
        text = json.dumps({"execute": command, "arguments": arguments})
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        while "return" not in (answer := self._read()):
            assert "error" not in answer, answer
            self.events.append(answer)
        return answer["return"]

    def qemu_io(self, node: str, command: str) -> str:
        """Run a command of qemu-io as the machine, at its disk with a node; what it said."""
        (device,) = [
            one["qdev"]
            for one in self.call("query-block")
            if one.get("inserted", {}).get("node-name") == node
        ]
        self._said = []
        line = f'qemu-io -d {device} "{command}"'
        self._said.append(self.call("human-monitor-command", **{"command-line": line}))
        said = "".join(self._said)
        assert "failed" not in said and "rror" not in said, said
        return said

    def wait_for(self, event: str) -> dict[str, Any]:
        """The data of the next event of a name."""
        while True:
            for number, seen in enumerate(self.events):
                if seen.get("event") == event:
                    data: dict[str, Any] = self.events.pop(number)["data"]
                    return data
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):
            self._said.append(line)  # qemu-io prints past the monitor
            line = self.process.stdout.readline()
        assert line, "it has ended"
        read: dict[str, Any] = json.loads(line)
        return read
