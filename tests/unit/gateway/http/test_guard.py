"""Who may ask for what over HTTP."""

from __future__ import annotations

import pytest

from tests.unit.gateway.http.web import TOKEN, Web

BEARER = f"Bearer {TOKEN.decode()}"
SNAPSHOT = {"method": "POST", "body": b'{"name": "monday"}', "content_type": "application/json"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:1", "LOCALHOST", "10.1.2.3:5"])
def test_an_address_or_localhost_is_our_name(host: str) -> None:
    """Nobody's DNS makes those."""
    assert Web().ask("/v1/exports", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:1", "", "[", "a@b"])
def test_another_name_is_refused(host: str) -> None:
    """A foreign page that made its name mean 127.0.0.1 learns nothing (DNS rebinding)."""
    answer = Web().ask("/v1/exports", host=host)
    assert (answer.status, answer.json()["cause"]) == (421, "misdirected")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_pages_of_another_origin_are_refused(headers: dict[str, str], token: bytes | None) -> None:
    """Whatever they show."""
    web = Web(token)
    assert web.ask("/v1/exports", authorization=BEARER, **headers).status == 403
    assert web.ask("/v1/exports", authorization=BEARER, origin="http://127.0.0.1:1").status == 200


def test_no_other_origin_may_read_an_answer() -> None:
    """There is no CORS, and browsers are told to be careful."""
    headers = Web().ask("/v1/exports").headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["x-content-type-options"] == "nosniff"


def test_without_a_token_nothing_is_changed_over_tcp() -> None:
    """Everybody on the machine can connect."""
    web = Web()
    answer = web.ask("/v1/exports/vm/snapshots", **SNAPSHOT)
    assert (answer.status, answer.json()["cause"]) == (403, "forbidden")
    assert web.ask("/v1/exports/vm/snapshots").json() == {"snapshots": []}


def test_with_the_token_everything_may_be_done() -> None:
    """By any name that leads here."""
    web = Web(TOKEN)
    headers = {"authorization": BEARER, "host": "gw.example"}
    assert web.ask("/v1/exports/vm/snapshots", **SNAPSHOT, **headers).status == 201
    assert web.ask("/v1/exports/vm/snapshots/monday", "DELETE", **headers).status == 204


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", f"Basic {TOKEN.decode()}", f"{BEARER}0"]
)
def test_without_the_token_nothing_is_told(authorization: str) -> None:
    """Neither names of exports nor metrics, nor whether a path exists."""
    web = Web(TOKEN)
    for path in ("/v1/exports", "/metrics", "/v1/exports/vm/raw", "/nothing"):
        answer = web.ask(path, authorization=authorization)
        assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        assert TOKEN not in answer.body


def test_health_needs_no_token() -> None:
    """Monitors and orchestrators ask."""
    web = Web(TOKEN)
    assert web.ask("/healthz").status == web.ask("/readyz").status == 200


def test_on_a_unix_socket_the_mode_has_let_them_in() -> None:
    """No token, and any name."""
    for token in (None, TOKEN):
        web = Web(token, local=True)
        assert web.ask("/v1/exports/vm/snapshots", **SNAPSHOT, host="x").status == 201
