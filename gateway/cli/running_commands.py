"""``run``: a disk on a private socket, for one command."""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import AsyncExitStack
from typing import Any

from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.exits import wrong
from gateway.cli.session import Session


def add(kinds: Any) -> None:
    """The command, to the command line."""
    run = words.command(
        kinds,
        "run",
        _run,
        "run a command with a disk on a private socket",
        "In the command's words {uri} stands for the NBD URI of the disk, and {socket} for its"
        " Unix socket. One word alone is a line for the shell, which has them as $uri and"
        " $socket. ADDRESS@SNAPSHOT is a snapshot. The volume is ours for as long as the command"
        " runs, and flushed before its exit status is passed on.",
    )
    words.address(run)
    run.add_argument("--read-only", action="store_true", help="the command cannot change the disk")
    run.usage = f"{run.prog} [options] ADDRESS -- COMMAND ..."


async def _run(session: Session, given: Namespace) -> Done:
    command = given.command
    if not command:
        raise wrong("expected a command behind --")
    # Late: no other command serves NBD, and all would wait for it.
    from gateway import private_socket

    name, snapshot = words.with_snapshot(given.address)
    async with AsyncExitStack() as stack:
        if snapshot is not None or given.read_only:
            address = session.address(name)
            export: Any = await stack.enter_async_context(session.export(address, snapshot))
        elif await session.served(name) is not None:
            raise wrong(f"{name}: the gateway has it open; clients reach it at {session.uri(name)}")
        else:
            export = await stack.enter_async_context(session.volume(name))
        runtime = session.runtime
        stack.enter_context(
            runtime.interruption.held("the command was left; what it had flushed is kept")
        )
        socket = private_socket.PrivateSocket(runtime.reactor, name.rpartition("/")[2], export)
        stack.push_async_callback(socket.close)
        status = await private_socket.run(runtime.call_in_thread, command, socket, os.environ)
    if status == private_socket.NOT_FOUND:
        session.warn(f"{command[0]}: command not found")
    return Done({"status": status}, "", status, elsewhere=True)
