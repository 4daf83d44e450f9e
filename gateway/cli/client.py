"""Asking a gateway over its socket; blocks until it has answered."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any

from gateway.admin.wire import JSON, Cause, Problem, encoded
from gateway.cli.exits import Failure


class Client:
    """
    Asks one gateway.

    Args:
        path: of its socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, method: str, path: str, value: object = None) -> Any:
        """
        What the gateway answers, however long that takes; None if it has nothing to say.

        Args:
            path: see `gateway.admin.wire.path`.
            value: sent as JSON.

        Raises:
            Failure: it was not done, or the gateway did not answer.
        """
        connection = _Connection(self._path)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise _unreachable(self._no_gateway(error)) from error
            try:
                body = None if value is None else encoded(value)
                headers = {} if body is None else {"content-type": JSON}
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                status, content = response.status, response.read()
            except (OSError, HTTPException) as error:
                raise _unreachable(
                    f"the gateway at {self._path} ended before it answered;"
                    " whether it was done is not known"
                ) from error
        finally:
            connection.close()
        return self._read(status, content)

    def _read(self, status: int, content: bytes) -> Any:
        try:
            answer = json.loads(content) if content else None
        except ValueError:
            answer = None
            status = max(status, 500)
        if status < 400:
            return answer
        said = answer if isinstance(answer, dict) else {}
        detail = said.get("detail") or f"{self._path}: got an answer that is none, status {status}"
        raise Failure(Problem(Cause.called(said.get("cause")), str(detail)))

    def _no_gateway(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            return f"{self._path}: permission denied; only the gateway's own user may ask"
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return (
                f"{self._path}: no gateway listens there; if one runs and serves volumes, expected"
                " its configuration as --config FILE, its state_dir as --state-dir DIRECTORY, or"
                " its admin.sock as --socket PATH"
            )
        return f"{self._path}: {error.strerror or error}"


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def _unreachable(text: str) -> Failure:
    return Failure(Problem(Cause.UNAVAILABLE, text))
