"""A configuration to start from: what works at once, and every other key as a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from gateway.config import ExportSettings, GatewaySettings, ListenSettings
from gateway.config_reference import default_text
from gateway.providers import Providers

_WIDTH = 88

_HEAD = """\
; nbdgateway: what is served, and how. Check it with
;     nbdgateway config check {name}
; and start it with
;     twistd -n nbdgateway --config {name}
; A line that starts with ; is a comment. Keys that stand behind one have the value that is
; shown unless it is changed. Sizes take K, M, G, T (powers of 1024); durations are seconds;
; relative paths start at this file. SIGHUP makes a running gateway read it again.
"""

#: What is set from the start, by section; sections without anything are comments as a whole.
_SET: dict[str, dict[str, str]] = {
    "gateway": {"default_export": "disk0"},
    "listen:local": {"endpoint": "unix:nbd.sock"},
    "listen:loopback": {"endpoint": "tcp:10809:interface=127.0.0.1"},
    "export:disk0": {"provider": "file", "path": "disk0.raw", "size": "20G"},
    "export:vm1": {"provider": "directory", "path": "volumes", "size": "100G"},
}

#: What a section that is a comment would need.
_SUGGESTED: dict[str, dict[str, str]] = {
    "listen:network": {
        "endpoint": "tcp:10809",
        "tls_certificate": "pki/server-cert.pem",
        "tls_key": "pki/server-key.pem",
        "tls_client_ca": "pki/ca-cert.pem",
    },
    "export:vm2": {"provider": "s3", "bucket": "disks", "size": "1T"},
    "export:scratch": {"provider": "memory", "size": "1G"},
}

_SECTIONS: tuple[tuple[str, str, type], ...] = (
    ("gateway", "The gateway as a whole.", GatewaySettings),
    ("listen:local", "Clients on this machine.", ListenSettings),
    ("listen:loopback", "The same for clients that speak TCP only.", ListenSettings),
    (
        "listen:network",
        "Other machines, by TLS only. `nbdgateway tls` makes the certificates.",
        ListenSettings,
    ),
    ("export:disk0", "A disk in a file, which is created sparse.", ExportSettings),
    (
        "export:vm1",
        "A volume: snapshots, clones, compression; its objects lie in a directory.",
        ExportSettings,
    ),
    (
        "export:vm2",
        "The same in a bucket of S3. Credentials are found where boto3 looks for them.",
        ExportSettings,
    ),
    ("export:scratch", "A disk in memory, which is gone when the gateway stops.", ExportSettings),
)


def text(name: str = "gw.ini") -> str:
    """
    The file's text.

    Args:
        name: of the file, for what its head says.
    """
    providers = Providers(plugins=())
    told: set[Any] = set()
    parts = [_HEAD.format(name=name)]
    for section, about, settings in _SECTIONS:
        classes: list[Any] = [settings]
        values = _SET.get(section, _SUGGESTED.get(section, {}))
        if "provider" in values:
            classes.append(providers.get(values["provider"]).settings)
        marker = "" if section in _SET else "; "
        lines = [*_comment(about), f"{marker}[{section}]"]
        lines += [f"{marker}{key} = {value}" for key, value in values.items()]
        for one in classes:
            lines += _others(one, values, told)
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _others(settings: Any, values: Mapping[str, str], told: set[Any]) -> Iterator[str]:
    """The keys that are not set, each where it comes first."""
    for field in attrs.fields(settings):
        explanation = field.metadata["doc"]
        what = (field.name, explanation)
        if field.name in values or what in told:
            continue
        told.add(what)
        yield from ["", *_comment(explanation.replace("`", ""))]
        yield f"; {field.name} = {default_text(field)}".rstrip()


def _comment(sentence: str) -> list[str]:
    return [f"; {line}" for line in textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False)]
