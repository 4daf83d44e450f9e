"""A gateway process that serves one volume and may end at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash.places import PREFIX, Named
from tests.interop.gateway import ALARMS
from tests.service.twistd import Twistd
from tests.simulation.model import Zones
from tests.wire import Client, SocketConnection

MIB = 1 << 20
KIB = 1 << 10

SIZE = 48 * MIB


class Served:
    """
    A volume and the gateway in front of it.

    Args:
        directory: of the process: its configuration, socket, state and output.
        place: where the volume lies.
        keys: more lines of the export's section, beside size and store.
        more: more sections.

    Attributes:
        keys: they count from the next start on.
        process: the newest; None before the first start.
    """

    def __init__(self, directory: Path, place: Named, keys: str = "", more: str = "") -> None:
        self.directory = directory
        self.place = place
        self.keys = keys
        self.more = more
        self.process: Twistd | None = None
        self.uri = f"nbd+unix:///{PREFIX}?socket={directory / 'nbd.sock'}"

    def begin(self) -> Twistd:
        """Start a process, and do not wait until it serves."""
        (self.directory / "gw.ini").write_text(
            "[gateway]\nshutdown_timeout = 10\n"
            "[listen:unix]\nendpoint = unix:nbd.sock\n"
            f"[export:{PREFIX}]\nsize = {SIZE}\n{self.place.section()}{self.keys}{self.more}"
        )
        self.process = Twistd(self.directory, "--config", "gw.ini")
        return self.process

    def serve(self) -> Twistd:
        """Start a process that serves."""
        process = self.begin()
        process.wait_for(f"export {PREFIX} is open")
        return process

    def kill(self) -> None:
        """As a crash does: nothing is flushed."""
        assert self.process is not None
        self.process.process.kill()
        self.process.process.wait()

    def stop(self) -> None:
        """Cleanly, if there is anything to stop."""
        if self.process is not None:
            self.process.stop()

    def open(self, export: str = PREFIX) -> Client:
        """A client of the export; the caller closes its connection."""
        client = Client(SocketConnection.unix(str(self.directory / "nbd.sock")))
        return client.greet().agree("structured").go(export)

    @contextmanager
    def connect(self, export: str = PREFIX) -> Iterator[Client]:
        """A client of the export that goes at the end."""
        client = self.open(export)
        try:
            yield client
        finally:
            client.connection.close()

    def text(self) -> str:
        """All that the newest process printed."""
        assert self.process is not None
        return self.process.text()

    def alarms(self) -> list[str]:
        """Lines of the newest process that tell of a mistake of ours, or of lost data."""
        return [line for line in self.text().splitlines() if any(one in line for one in ALARMS)]


def content(client: Client, zones: Zones) -> bytes:
    """What a disk holds in its zones, as the model has it."""
    return b"".join(
        client.read(start, min(MIB, offset + length - start))
        for offset, length in zones.zones
        for start in range(offset, offset + length, MIB)
    )
