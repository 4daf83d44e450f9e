"""From the command line to an exit status."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from gateway.cli import logs
from gateway.cli.arguments import parse
from gateway.cli.done import Done
from gateway.cli.exits import Exit, failure_of
from gateway.cli.running import Interrupted, Runtime, run
from gateway.cli.session import Session


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
        with logs.shown(sys.stderr):
            done = run(lambda runtime: _work(runtime, given), alone=arguments is None)
        screen = sys.stderr if done.elsewhere else sys.stdout
        screen.write(f"{_json(done.value)}\n" if given.json else f"{done.text}\n" * bool(done.text))
        screen.flush()
    except (Interrupted, KeyboardInterrupt) as interrupted:
        sys.stderr.write(f"nbdgateway: {str(interrupted) or 'interrupted; nothing was changed'}\n")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # It is done, and nobody reads on; nor is there more to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        problem = failure.problem
        said = {"cause": problem.cause.word, "detail": problem.detail}
        sys.stderr.write(f"{_json(said) if given.json else f'nbdgateway: {problem.detail}'}\n")
        return failure.status
    return done.status


async def _work(runtime: Runtime, given: Namespace) -> Done:
    done: Done = await given.run(Session(given, runtime), given)
    return done


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
