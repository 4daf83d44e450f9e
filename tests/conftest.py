"""What every test gets: a guard that turns an unexpected logged failure into a failed test."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import LogEvent, globalLogBeginner, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.programs import running

# How long an example takes is the machine's affair, and what else that has to do.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """
    Logging has begun, to nobody.

    Before it does, Twisted keeps what is logged, and so all that a logged failure holds: volumes
    of long ago would be collected, and speak up, in the middle of another test.
    """
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


class LoggedFailures:
    """
    The failures that the code under test has logged.

    Attributes:
        events: those not taken yet.
    """

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.events.append(event)

    def take(self, *kinds: type[BaseException]) -> list[BaseException]:
        """
        The exceptions logged so far; they no longer fail the test.

        Args:
            kinds: only those of these classes; all if there are none.
        """
        taken = [event for event in self.events if not kinds or event["log_failure"].check(*kinds)]
        self.events = [event for event in self.events if event not in taken]
        return [event["log_failure"].value for event in taken]


@pytest.fixture(autouse=True)
def logged_failures(request: pytest.FixtureRequest) -> Iterator[LoggedFailures]:
    """Fails the test if a failure was logged that it did not `take`."""
    logged = LoggedFailures()
    if request.cls is not None and issubclass(request.cls, SynchronousTestCase):
        yield logged  # trial's classes have a guard of their own
        return
    globalLogPublisher.addObserver(logged)
    try:
        yield logged
        gc.collect(1)  # an unhandled Deferred speaks up when it is collected
    finally:
        globalLogPublisher.removeObserver(logged)
    if logged.events:
        texts = [event["log_failure"].getTraceback() for event in logged.events]
        pytest.fail("unexpected failures in the log:\n" + "\n".join(texts), pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The mark ``executes``: see `tests.programs.running`."""
    running.execute(item.get_closest_marker("executes") is not None)
