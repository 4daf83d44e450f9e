"""``tls ...``: certificates and pre-shared keys for a gateway and its clients."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from gateway.admin.wire import Cause, Problem
from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.exits import Failure
from gateway.cli.session import Session


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    tls = words.group(
        kinds,
        "tls",
        "make certificates and keys for TLS",
        "Files have the names that qemu, libnbd and nbdkit look for; private ones are readable"
        " by their owner only. Nothing is overwritten.",
    )
    ca = words.command(tls, "init-ca", _init_ca, "make an authority, which signs the others")
    ca.add_argument("--name", default="nbdgateway CA", help="the authority's, for people")
    _common(ca, 3650)
    server = words.command(
        tls,
        "server",
        _server,
        "make the gateway's certificate",
        "Clients check that it names the host that they connect to.",
    )
    server.add_argument(
        "hosts", metavar="HOST", nargs="+", type=words.name, help="a name or an address"
    )
    _common(server, 365)
    client = words.command(
        tls,
        "client",
        _client,
        "make a client's certificate, in a folder of its own",
        "`tls_clients = cn:NAME` in an export's section lets just this client use it.",
    )
    client.add_argument("name", metavar="NAME", type=words.name, help="the client's")
    _common(client, 365)
    psk = words.command(
        tls,
        "psk",
        _psk,
        "make a client's pre-shared key",
        "All of them in keys.psk for the gateway; each in a folder of its own for the client.",
    )
    psk.add_argument("name", metavar="USER", type=words.name, help="the client's")
    _common(psk, None)


def _common(parser: Any, days: int | None) -> None:
    parser.add_argument(
        "--directory", metavar="DIRECTORY", default="pki", help="where everything is (pki)"
    )
    if days is not None:
        parser.add_argument(
            "--days", metavar="N", type=int, default=days, help=f"how long it is good ({days})"
        )


async def _init_ca(session: Session, given: Namespace) -> Done:
    made = await _made(
        session, _authority().init_ca, given.directory, given.name, given.days, _now()
    )
    return _done(
        made,
        f"ca-key.pem signs whatever it is asked to: keep it off the gateway."
        f" Next: nbdgateway tls server HOST --directory {given.directory}",
    )


async def _server(session: Session, given: Namespace) -> Done:
    made = await _made(
        session, _authority().server, given.directory, given.hosts, given.days, _now()
    )
    where = _absolute(given.directory)
    return _done(
        made,
        "In the listener's section:\n"
        f"  tls_certificate = {where}/server-cert.pem\n"
        f"  tls_key = {where}/server-key.pem\n"
        f"  tls_client_ca = {where}/ca-cert.pem",
    )


async def _client(session: Session, given: Namespace) -> Done:
    made = await _made(
        session, _authority().client, given.directory, given.name, given.days, _now()
    )
    folder = os.path.join(given.directory, given.name)
    return _done(
        made,
        f"Give {given.name} the folder {folder}; then, with the gateway's host and an export:\n"
        f"  nbdinfo 'nbds://HOST/EXPORT?tls-certificates={_absolute(folder)}'\n"
        f"  qemu-img info --object tls-creds-x509,id=tls0,dir={_absolute(folder)},endpoint=client"
        " --image-opts driver=nbd,host=HOST,port=10809,export=EXPORT,tls-creds=tls0",
    )


async def _psk(session: Session, given: Namespace) -> Done:
    made = await _made(session, _authority().psk, given.directory, given.name)
    where, folder = _absolute(given.directory), os.path.join(given.directory, given.name)
    return _done(
        made,
        f"In the listener's section:\n  tls_psk_file = {where}/keys.psk\n"
        f"Give {given.name} the folder {folder}; then, with the gateway's host and an export:\n"
        f"  nbdinfo 'nbds://{given.name}@HOST/EXPORT?tls-psk-file={_absolute(folder)}/keys.psk'"
        "\n"
        f"  qemu-img info --object tls-creds-psk,id=tls0,dir={_absolute(folder)},"
        f"username={given.name},endpoint=client"
        " --image-opts driver=nbd,host=HOST,port=10809,export=EXPORT,tls-creds=tls0",
    )


def _authority() -> ModuleType:
    # Late: no other command needs X.509, and all would wait for it.
    from gateway.cli import authority

    return authority


async def _made(session: Session, make: Callable[..., list[str]], *args: Any) -> list[str]:
    try:
        made: list[str] = await session.runtime.call_in_thread(make, *args)
    except _authority().CannotMake as problem:
        raise Failure(Problem(Cause.REFUSED, str(problem))) from None
    return made


def _done(made: list[str], text: str) -> Done:
    return Done({"made": made}, f"made {', '.join(made)}\n{text}")


def _absolute(path: str) -> str:
    return os.path.abspath(path)


def _now() -> datetime:
    return datetime.now(UTC)
