"""An emulator in a process of its own: started, asked for its counters, stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import attrs

from benchmarks.s3_emulator.conditions import Conditions
from benchmarks.s3_emulator.counters import dollars

BUCKET = "disks"

_HOME = Path(__file__).parents[2]


@attrs.frozen
class Asked:
    """
    What was asked of a store in some time.

    Attributes:
        requests: by verb; verbs that were not used are missing.
        sent: bytes of objects to the store.
        got: bytes of objects from the store.
        not_found: requests answered with 404.
        faults: requests that a fault befell.
        stored: bytes that lie in the store now.
        objects: how many there are now.
    """

    requests: dict[str, int]
    sent: int
    got: int
    not_found: int
    faults: int
    stored: int
    objects: int

    @property
    def total(self) -> int:
        """Requests of all kinds."""
        return sum(self.requests.values())

    def count(self, *verbs: str) -> int:
        """Requests of these kinds."""
        return sum(self.requests.get(verb, 0) for verb in verbs)

    @property
    def dollars(self) -> float:
        """Price of the requests, US dollars."""
        return dollars(self.requests)

    def summary(self) -> str:
        """For a table."""
        return ", ".join(f"{number:,} {verb}" for verb, number in self.requests.items()) or "none"


@attrs.frozen
class Store:
    """
    A running emulator with one bucket, `BUCKET`.

    Attributes:
        url: of the endpoint.
        pid: its process.
    """

    url: str
    pid: int

    def reset(self) -> None:
        """Count anew."""
        self._ask("POST", "reset")

    def empty(self) -> None:
        """Remove all objects."""
        self._ask("POST", "empty")

    def asked(self) -> Asked:
        """What was asked since then."""
        found = json.loads(self._ask("GET", "counters"))
        verbs = found["verbs"]

        def sum_of(field: str) -> int:
            return sum(counter[field] for counter in verbs.values())

        return Asked(
            {verb: one["requests"] for verb, one in verbs.items() if one["requests"]},
            sum_of("received"),
            sum_of("sent"),
            sum_of("not_found"),
            sum_of("faults"),
            found["bytes"],
            found["objects"],
        )

    def be(self, conditions: Conditions) -> None:
        """Have other conditions from now on."""
        self._ask("PUT", "conditions", conditions.as_json().encode())

    def _ask(self, method: str, what: str, body: bytes | None = None) -> Any:
        request = Request(f"{self.url}/-/{what}", data=body, method=method)
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.read()


@contextmanager
def running(profile: str = "near", seed: int = 0) -> Iterator[Store]:
    """One on a free port of this machine, with an empty bucket."""
    command = [sys.executable, "-m", "benchmarks.s3_emulator", "--profile", profile]
    command += ["--bucket", BUCKET, "--seed", str(seed)]
    process = subprocess.Popen(command, cwd=_HOME, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the emulator ended with {process.wait()}")
        yield Store(url, process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
