"""
A process that imports our programs once and forks whoever carries on as one of them.

What is forked differs from what is executed in this alone: its modules are there already. It has
the arguments, environment, directory, standard streams and signals of a new process, no other open
file, no thread and no reactor, and ends as the program ends.

`tests.programs.forked` starts it with the number of a socket, and sends it one packet for each
process: what to be, with four descriptors.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from backends.objects import s3_client

#: Bytes of a request.
_MOST = 1 << 18

#: What is imported beside all of our modules: what they import when it is first used.
_LATER = (
    "botocore.httpsession",
    "botocore.session",
    "botocore.signers",
    "twisted.application.app",
    "twisted.internet.epollreactor",
    "twisted.scripts._twistd_unix",
    "twisted.scripts.twistd",
)


def twistd() -> None:
    """As its script does it."""
    from twisted.scripts.twistd import run

    run()


def nbdgateway() -> None:
    """As its script does it."""
    from gateway.cli.main import main

    sys.exit(main())


PROGRAMS: dict[str, Callable[[], None]] = {"twistd": twistd, "nbdgateway": nbdgateway}


def main() -> None:
    """Fork until the socket is closed, or be what was forked."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import()
    # Of what no collection looks at, fewer pages are written to, and so copied.
    gc.collect()
    gc.freeze()
    program = _serve(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, interrupt)
    program()


def _import() -> None:
    for name in ("gateway", "backends"):
        for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(found.name)
    for name in _LATER:
        importlib.import_module(name)
    _read_descriptions()
    # Neither survives a fork.
    assert "twisted.internet.reactor" not in sys.modules
    assert len(os.listdir("/proc/self/task")) == 1


def _read_descriptions() -> None:
    """What botocore reads for its first client of S3."""
    loader = s3_client.descriptions(None)
    for name in ("endpoints", "sdk-default-configuration", "partitions"):
        loader.load_data_with_path(name)
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("s3", kind, api_version=None)


def _serve(line: socket.socket) -> Callable[[], None]:
    """What the process is to do now: nothing, or in one that was forked, to become the program."""
    poll = select.poll()
    poll.register(line, select.POLLIN)
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in children:
                poll.unregister(descriptor)
                os.close(descriptor)
                number, news = children.pop(descriptor)
                status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
                with news, suppress(OSError):  # nobody is there who wants to know
                    news.send(str(status).encode())
                continue
            request, ends, _, _ = socket.recv_fds(line, _MOST, 4)
            if not request:
                return _nothing
            number = os.fork()
            if not number:
                line.close()
                for handle, (_, news) in children.items():
                    os.close(handle)
                    news.close()
                return partial(_become, *json.loads(request), ends)
            news = socket.socket(fileno=ends[0])
            for end in ends[1:]:
                os.close(end)
            handle = os.pidfd_open(number)
            children[handle] = number, news
            poll.register(handle, select.POLLIN)
            with suppress(OSError):
                socket.send_fds(news, [str(number).encode()], [handle])


def _nothing() -> None:
    pass


def _become(words: list[str], directory: str, environment: dict[str, str], ends: list[int]) -> None:
    """Take over streams, directory and environment, and be the program."""
    os.close(ends[0])
    for number, end in enumerate(ends[1:]):
        os.dup2(end, number)
        os.close(end)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = words
    PROGRAMS[words[0]]()


if __name__ == "__main__":
    main()
