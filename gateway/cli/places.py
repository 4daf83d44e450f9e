"""Where the socket of a gateway is, from what the command line says."""

from __future__ import annotations

import os

from gateway import ini
from gateway.admin.wire import SOCKET
from gateway.config import EMBEDDED_DATA_DIR, GatewaySettings
from gateway.errors import ConfigurationError
from gateway.sections import Sections


def socket_path(config: str | None, path: str | None) -> str:
    """
    The socket's path.

    Args:
        config: the gateway's configuration file. Of it only ``[gateway]``
            counts: whether the rest is right is for the gateway to say.
        path: the socket's, if it is known.

    Without both, it is that of a gateway that was started here without a configuration.

    Raises:
        ConfigurationError: the file does not tell.
    """
    if path is not None:
        return path
    if config is None:
        return os.path.join(EMBEDDED_DATA_DIR, SOCKET)
    document, _ = ini.load(config)
    settings: GatewaySettings | None = GatewaySettings()
    if "gateway" in document.sections:
        sections = Sections(document, [])
        settings = sections.read(GatewaySettings, "gateway")
        if settings is None:
            raise ConfigurationError(sections.problems)
    assert settings is not None
    return os.path.join(settings.directory(document.base), SOCKET)
