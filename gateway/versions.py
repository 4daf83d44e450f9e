"""Which software serves, as support asks for it."""

from __future__ import annotations

import platform
import ssl
import sys
from importlib.metadata import PackageNotFoundError, version

from gateway import __version__

#: Distributions whose versions matter; boto3 is not imported for that.
_PACKAGES = {"twisted": "twisted", "boto3": "boto3"}


def versions() -> dict[str, str]:
    """By name: the gateway, what it stands on, and Python."""
    found = {"nbdgateway": __version__}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "openssl": _openssl(), "python": platform.python_version()}


def _openssl() -> str:
    """The one that TLS goes through: that of pyOpenSSL once it is loaded, which has its own."""
    if "OpenSSL.SSL" in sys.modules:
        from OpenSSL import SSL

        text = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")
    else:
        text = ssl.OPENSSL_VERSION
    return text.removeprefix("OpenSSL ").split(" ")[0]
