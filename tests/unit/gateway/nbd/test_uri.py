"""NBD URIs."""

from __future__ import annotations

import pytest

from gateway.nbd.uri import tcp_uri, unix_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (tcp_uri("", "127.0.0.1", 10809), "nbd://127.0.0.1/"),
        (tcp_uri("disk", "example.org", 10810), "nbd://example.org:10810/disk"),
        (tcp_uri("disk", "::1", 10809), "nbd://[::1]/disk"),
        (tcp_uri("disk", "h", 10809, tls=True), "nbds://h/disk"),
        (tcp_uri("a b", "h", 10809), "nbd://h/a%20b"),
        (tcp_uri("/disk", "h", 10809), "nbd://h/%2Fdisk"),
        (tcp_uri("Ärger?#", "h", 10809), "nbd://h/%C3%84rger%3F%23"),
        (unix_uri("", "/run/nbd.sock"), "nbd+unix:///?socket=/run/nbd.sock"),
        (unix_uri("d", "/a b&c", tls=True), "nbds+unix:///d?socket=/a%20b%26c"),
    ],
)
def test_names_hosts_and_paths_are_encoded_as_clients_decode_them(uri: str, expected: str) -> None:
    """A printed URI means the same export to every client (U1, U2)."""
    assert uri == expected
