"""
moto's S3 in a process of its own, and what may go wrong with it, on order.

Run as a module it prints its URL and obeys lines of JSON on standard input;
`S3Process` is the other end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.service.twistd import PATIENCE, ROOT, environment


class S3Process:
    """
    The server as those see it who gave birth to it.

    Attributes:
        url: of its endpoint.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.s3_server"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self._line()

    def bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self._order("bucket", name=name)

    def fail(
        self,
        fault: str,
        *verbs: str,
        chance: float = 1.0,
        times: int | None = None,
        seed: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """
        Put a fault in the way of requests to come.

        Args:
            fault: a name in `tests.doubles.s3_faults`; ``late`` takes ``seconds``.
            verbs: of those requests; all if there are none.
            chance: of each of them to meet it; ``seed`` draws.
            times: how many of them; None is for ever.
        """
        self._order(
            "fail",
            fault=fault,
            verbs=verbs,
            chance=chance,
            times=times,
            seed=seed,
            seconds=seconds,
        )

    def heal(self) -> None:
        """No faults from now on."""
        self._order("heal")

    def stop(self) -> None:
        """End it with all that it holds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def _order(self, what: str, **how: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, **how}) + "\n")
        self._process.stdin.flush()
        assert self._line() == "done"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the S3 server has ended"
        return line.rstrip()


@contextmanager
def s3_server() -> Iterator[S3Process]:
    """A server that lives as long as the context."""
    process = S3Process()
    try:
        yield process
    finally:
        process.stop()


def main() -> None:
    """Serve until standard input ends."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    from tests.doubles import s3_faults
    from tests.doubles.moto_server import running

    with running() as (url, faults):
        print(url, flush=True)  # noqa: T201
        for line in sys.stdin:
            order = json.loads(line)
            if order["what"] == "bucket":
                backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
                backend.create_bucket(order["name"], "us-east-1")
            elif order["what"] == "heal":
                faults.heal()
                faults.forget()
            else:
                fault = getattr(s3_faults, order["fault"])
                if order["seconds"]:
                    fault = fault(order["seconds"])
                if order["chance"] < 1:
                    fault = s3_faults.sometimes(Random(order["seed"]), order["chance"], fault)
                faults.fail(fault, *order["verbs"], times=order["times"])
            print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
