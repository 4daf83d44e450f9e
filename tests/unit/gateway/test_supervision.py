"""When the gateway tells its supervisor what."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from gateway.config import Configuration
from gateway.errors import ConfigurationError
from gateway.service import Gateway
from tests.unit.gateway.fakes import FakeExport, FakeFactory, FakeProvider, spec
from tests.unit.gateway.test_service import FakePool, Reactor, listener


class Supervisor:
    """A way to nobody that remembers."""

    address = "@test"
    watchdog = 0.0

    def __init__(self) -> None:
        self.said: list[str] = []

    def send(self, *assignments: str) -> bool:
        self.said += [line for one in assignments for line in one.split("\n")]
        return True

    def states(self) -> list[str]:
        """Those of the changes of state since the last look."""
        said, self.said = self.said, []
        return [one for one in said if one in ("READY=1", "RELOADING=1", "STOPPING=1")]


class SupervisionTests(SynchronousTestCase):
    """A gateway between fakes, with a supervisor."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.supervisor = Supervisor()
        self.provider = FakeProvider()
        self.next: Any = None
        self.gateway = Gateway(
            self._configuration(),
            reload=self._load,
            reactor=self.reactor,
            factories={"nbd": FakeFactory},
            set_signal=lambda number, call: None,
            make_pool=FakePool,
            supervisor=self.supervisor,  # type: ignore[arg-type]
        )

    def _configuration(self) -> Configuration:
        exports = (spec("a", self.provider),)
        return Configuration("gw.ini", "/state", None, (listener("one", 1),), exports)

    def _load(self) -> Configuration:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next or self._configuration()

    def _open(self) -> None:
        self.provider.attempts[-1][1].callback(FakeExport(4096))

    def test_it_is_ready_once_each_export_was_tried(self) -> None:
        """A journal is replayed by then."""
        self.gateway.startService()
        self.reactor.advance(5)
        assert self.supervisor.states() == []
        self._open()
        assert self.supervisor.states() == ["READY=1"]

    def test_a_reload_during_the_start_does_not_make_it_ready(self) -> None:
        """There is nothing to serve yet."""
        self.gateway.startService()
        self.gateway.reload()
        assert self.supervisor.states() == ["RELOADING=1"]
        self._open()
        assert "READY=1" in self.supervisor.states()

    def test_a_reload_that_is_refused_ends_as_well(self) -> None:
        """What was served is served."""
        self.gateway.startService()
        self._open()
        self.supervisor.states()
        self.next = ConfigurationError(["gw.ini:1: [oops]: unknown section"])
        self.gateway.reload()
        assert self.supervisor.states() == ["RELOADING=1", "READY=1"]

    def test_a_stop_is_told_first_and_nothing_after_its_end(self) -> None:
        """Nor is a gateway ready that was stopped while it started."""
        self.gateway.startService()
        stopped = self.gateway.stopService()
        assert self.supervisor.states() == ["STOPPING=1"]
        self._open()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        assert "READY=1" not in self.supervisor.said
        said = len(self.supervisor.said)
        self.reactor.advance(100)
        assert len(self.supervisor.said) == said

    def test_other_thresholds_of_slowness_are_taken_by_a_reload(self) -> None:
        """Without a restart; connections go on."""
        self.gateway.startService()
        self._open()
        assert self.gateway._slow.threshold == 0.5
        self.next = attrs.evolve(self._configuration(), slow_operation=3.0)
        self.gateway.reload()
        assert self.gateway._slow.threshold == 3.0
