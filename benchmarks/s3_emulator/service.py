"""The emulator: requests meet conditions and counters, and whoever measures asks for the latter."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from benchmarks.s3_emulator.answers import S3, Answer, Request, error
from benchmarks.s3_emulator.bucket import Bucket
from benchmarks.s3_emulator.conditions import Conditions
from benchmarks.s3_emulator.connection import Connection, Respond
from benchmarks.s3_emulator.counters import Counters

#: No bucket has so short a name.
CONTROL = "-"


class Emulator:
    """
    An object store with conditions.

    ``GET /-/counters`` answers what was asked since the last ``POST /-/reset``, and what is
    stored; ``POST /-/empty`` removes all objects; ``GET`` and ``PUT /-/conditions`` are for
    `Conditions` as JSON. These take no time and are not counted.

    Args:
        buckets: that exist at first.
        conditions: at first.
        seed: of the faults.
    """

    def __init__(self, *buckets: str, conditions: Conditions, seed: int = 0) -> None:
        self.s3 = S3(*buckets)
        self.conditions = conditions
        self.counters = Counters()
        self._random = random.Random(seed)

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Serve on a port; 0 for any that is free."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: Connection(self.serve), host, port, backlog=1024)

    def serve(self, request: Request, began: float, respond: Respond) -> None:
        """As `connection.Serve`."""
        if request.bucket == CONTROL:
            respond(self._control(request))
            return
        verb = request.verb
        fault = self.conditions.faults.draw(self._random)
        if fault is not None:
            self.counters.by_verb[verb].faults += 1
        if fault in ("slow_down", "error_before", "reset_before"):
            self._later(
                began, self.conditions.duration(verb, 0), self._refuse, fault, verb, respond
            )
            return
        if verb in ("GET", "HEAD", "LIST"):
            # what a read finds is what was there when it came
            answer = self.s3.answer(request)
            size = len(answer.body) if verb == "GET" else 0
            wait = self._duration(verb, size, fault)
            self._later(began, wait, self._finish, verb, answer, 0, fault, respond)
        else:
            wait = self._duration(verb, len(request.body), fault)
            self._later(began, wait, self._change, verb, request, fault, respond)

    def _duration(self, verb: str, size: int, fault: str | None) -> float:
        stall = self.conditions.faults.stall_seconds if fault == "stall" else 0.0
        return self.conditions.duration(verb, size) + stall

    def _later(
        self, began: float, seconds: float, do: Callable[..., None], *arguments: Any
    ) -> None:
        if seconds:
            asyncio.get_running_loop().call_at(began + seconds, do, *arguments)
        else:
            do(*arguments)

    def _change(self, verb: str, request: Request, fault: str | None, respond: Respond) -> None:
        """A change takes effect when its answer is due, whether or not anyone still waits."""
        answer = self.s3.answer(request)
        received = len(request.body) if verb == "PUT" else 0
        self._finish(verb, answer, received, fault, respond)

    def _finish(
        self, verb: str, answer: Answer, received: int, fault: str | None, respond: Respond
    ) -> None:
        if fault in ("error_after", "reset_after"):
            self.counters.note(verb, 500, received, 0)
            respond(_internal_error() if fault == "error_after" else None)
            return
        sent = len(answer.body) if verb == "GET" and answer.status < 300 else 0
        self.counters.note(verb, answer.status, received, sent)
        respond(answer)

    def _refuse(self, fault: str, verb: str, respond: Respond) -> None:
        self.counters.note(verb, 503, 0, 0)
        if fault == "slow_down":
            respond(error(503, "SlowDown", "Please reduce your request rate."))
        else:
            respond(_internal_error() if fault == "error_before" else None)

    def _control(self, request: Request) -> Answer:
        match request.method, request.key:
            case "GET", "counters":
                buckets = self.s3.buckets.values()
                found = {
                    "verbs": self.counters.as_dict(),
                    "objects": sum(len(bucket) for bucket in buckets),
                    "bytes": sum(bucket.stored_bytes for bucket in buckets),
                }
                return _json(json.dumps(found))
            case "POST", "reset":
                self.counters = Counters()
                return Answer(204)
            case "POST", "empty":
                for name in self.s3.buckets:
                    self.s3.buckets[name] = Bucket()
                return Answer(204)
            case "GET", "conditions":
                return _json(self.conditions.as_json())
            case "PUT", "conditions":
                try:
                    self.conditions = Conditions.from_json(bytes(request.body), self.conditions)
                except ValueError as problem:
                    return error(400, "BadRequest", str(problem))
                return Answer(204)
        return error(404, "NotFound", "expected /-/counters, /-/reset, /-/empty or /-/conditions")


def _json(text: str) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, text.encode())


def _internal_error() -> Answer:
    return error(500, "InternalError", "We encountered an internal error. Please try again.")
