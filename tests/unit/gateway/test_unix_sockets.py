"""Unix sockets on the file system."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.unix_sockets import AdoptedPort, OwnPort, listen


class UnixSocketTests(SynchronousTestCase):
    """Row U4."""

    def setUp(self) -> None:
        # Not under pytest's: that may lie deeper than 107 bytes.
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.path = f"{made.name}/s"
        self.reactor = MemoryReactorClock()

    def _listen(self, mode: int = 0o600) -> OwnPort:
        return listen(self.reactor, self.path, mode, ServerFactory())

    def _stop(self, port: OwnPort | AdoptedPort) -> None:
        port.connectionLost(Failure(ConnectionError()))

    def test_a_socket_has_the_chosen_permissions(self) -> None:
        """Whatever the umask says."""
        port = self._listen(0o640)
        assert stat.S_IMODE(os.stat(self.path).st_mode) == 0o640
        port.change_mode(0o666)
        assert stat.S_IMODE(os.stat(self.path).st_mode) == 0o666
        self._stop(port)

    def test_a_socket_is_removed_when_it_stops(self) -> None:
        """A clean exit leaves nothing."""
        self._stop(self._listen())
        assert not os.path.lexists(self.path)

    def test_a_socket_that_is_gone_or_replaced_is_left_alone(self) -> None:
        """What another process has put there is not ours to remove."""
        port = self._listen()
        os.unlink(self.path)
        Path(self.path).write_text("theirs")
        self._stop(port)
        assert Path(self.path).read_text() == "theirs"

    def test_many_clients_that_come_at_once_find_a_place(self) -> None:
        """Before the gateway has accepted any: nothing tries again for them."""
        port = self._listen()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(200)]
        for client in clients:
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect(self.path)
        self._stop(port)

    def test_a_socket_that_nobody_listens_on_is_replaced(self) -> None:
        """After a crash the gateway starts again by itself."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self._stop(self._listen())

    def test_a_socket_that_somebody_listens_on_is_left_alone(self) -> None:
        """A second gateway does not steal the first one's clients."""
        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(self.path)
            alive.listen(0)
            for _ in range(3):  # also once its queue is full
                with self.assertRaisesRegex(OSError, "another process listens"):
                    self._listen()

    def test_a_file_is_never_removed(self) -> None:
        """A typing mistake does not cost a disk image."""
        Path(self.path).write_text("precious")
        with self.assertRaisesRegex(OSError, "not a socket"):
            self._listen()
        assert Path(self.path).read_text() == "precious"

    def test_a_path_that_is_too_long_is_refused_with_its_length(self) -> None:
        """The kernel's own message does not say why."""
        self.path = "/" + "x" * 107
        with self.assertRaisesRegex(OSError, "108 bytes"):
            self._listen()

    def test_a_socket_handed_over_keeps_permissions_and_place(self) -> None:
        """Both are decided by whoever made it."""
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(self.path)
            os.chmod(self.path, 0o600)
            made.listen()
            made.setblocking(False)
            port = AdoptedPort.adopt(self.reactor, made.fileno(), ServerFactory())
        self._stop(port)
        assert stat.S_IMODE(os.stat(self.path).st_mode) == 0o600
