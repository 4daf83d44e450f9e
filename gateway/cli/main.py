"""From the command line to an exit status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from gateway.admin.wire import Cause, Problem
from gateway.cli.arguments import parse
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Failure
from gateway.cli.places import socket_path
from gateway.errors import ConfigurationError

#: What shells say of a program that Ctrl-C ended.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit status, see `gateway.cli.exits.Exit`.
    """
    given = parse(arguments)
    try:
        try:
            client = Client(socket_path(given.config, given.socket))
        except ConfigurationError as error:
            raise Failure(Problem(Cause.BAD_REQUEST, "\n".join(error.problems))) from None
        done = given.run(client, given)
        sys.stdout.write(f"{_json(done.value) if given.json else done.text}\n")
        sys.stdout.flush()
    except Failure as failure:
        problem = failure.problem
        said = {"cause": problem.cause.word, "detail": problem.detail}
        sys.stderr.write(f"{_json(said) if given.json else f'nbdgateway: {problem.detail}'}\n")
        return failure.status
    except KeyboardInterrupt:
        sys.stderr.write("nbdgateway: not waited for; the gateway goes on with it\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # It is done, and nobody reads on; nor is there more to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
