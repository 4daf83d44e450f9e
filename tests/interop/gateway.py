"""A gateway process whose exports come and go with the tests, and what clients call them."""

from __future__ import annotations

import itertools
import socket
from dataclasses import dataclass
from pathlib import Path

from tests.service.twistd import Twistd

#: Log lines that no client, however odd, may cause.
ALARMS = ("Traceback", "Unhandled", '"level": "critical"', '"level": "error"')

MIB = 1 << 20


@dataclass(frozen=True)
class Disk:
    """
    One export, as clients see it.

    Attributes:
        name: the export's.
        path: its file; None in memory.
        size: bytes.
        socket: the gateway's Unix socket.
        port: its TCP port.
    """

    name: str
    path: Path | None
    size: int
    socket: Path
    port: int

    @property
    def uri(self) -> str:
        """On the Unix socket."""
        return f"nbd+unix:///{self.name}?socket={self.socket}"

    @property
    def tcp(self) -> str:
        return f"nbd://127.0.0.1:{self.port}/{self.name}"

    def allocated(self) -> int:
        """Bytes that the file takes on its file system."""
        assert self.path is not None
        return self.path.stat().st_blocks * 512


class Gateway:
    """
    A running gateway; exports are added by reloading its configuration.

    Args:
        directory: short enough for a Unix socket.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = unused_port()
        self._exports: dict[str, str] = {}
        self._numbers = itertools.count()
        self._reloads = 0
        # Two, so that neither is the default by being the only one.
        for name in ("one", "two"):
            self._exports[name] = "provider = memory\nsize = 1M\n"
        self._write()
        self.process = Twistd(directory, "--config", "gw.ini")
        self.process.wait_for("export two is open")

    def add(self, provider: str, size: int, **keys: str) -> Disk:
        """
        Offer a new, empty disk.

        Args:
            keys: more of its section, such as another path.
        """
        name = f"{provider}{next(self._numbers)}"
        path = None
        if provider == "file":
            path = Path(keys.pop("path", self.directory / f"{name}.raw"))
            if keys.get("read_only"):  # then it has to exist
                with path.open("wb") as file:
                    file.truncate(size)
            keys = {"path": str(path), **keys}
        lines = [f"{key} = {value}\n" for key, value in keys.items()]
        self._exports[name] = f"provider = {provider}\nsize = {size}\n" + "".join(lines)
        self._reload()
        self.process.wait_for(f"export {name} is open")
        return Disk(name, path, size, self.directory / "nbd.sock", self.port)

    def remove(self, disk: Disk) -> None:
        """Stop offering a disk, and delete its file; a device stays."""
        del self._exports[disk.name]
        self._reload()
        self.process.wait_for(f"export {disk.name} is closed")
        if disk.path is not None and disk.path.is_file():
            disk.path.unlink()

    def names(self) -> list[str]:
        """Every export offered, in the order of the configuration."""
        return list(self._exports)

    def alarms(self, since: int = 0) -> list[str]:
        """Lines of the log behind ``since`` characters that tell of a mistake of ours."""
        lines = self.process.text()[since:].splitlines()
        return [line for line in lines if any(alarm in line for alarm in ALARMS)]

    def _reload(self) -> None:
        self._write()
        self._reloads += 1
        self.process.hang_up()
        self.process.wait_for("configuration reloaded", count=self._reloads)

    def _write(self) -> None:
        sections = [
            "[gateway]\nshutdown_timeout = 5\n",
            "[listen:unix]\nendpoint = unix:nbd.sock\n",
            f"[listen:tcp]\nendpoint = tcp:{self.port}:interface=127.0.0.1\n",
            *(f"[export:{name}]\n{keys}" for name, keys in self._exports.items()),
        ]
        (self.directory / "gw.ini").write_text("".join(sections))


def unused_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port
