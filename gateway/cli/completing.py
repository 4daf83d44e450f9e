"""``completion``: what makes a shell complete the command's words."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.session import Session

SHELLS = ("bash", "zsh", "tcsh")


def add(kinds: Any) -> None:
    """The command, to the command line."""
    completion = words.command(
        kinds,
        "completion",
        _completion,
        "print what makes a shell complete commands and options",
        'For bash: eval "$(nbdgateway completion bash)", in ~/.bashrc say.',
    )
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


async def _completion(session: Session, given: Namespace) -> Done:
    # Late: no other command needs it, and all would wait for it.
    import shtab

    script = shtab.complete(given.parser, shell=given.shell)
    return Done({"shell": given.shell, "script": script}, script.rstrip("\n"))
