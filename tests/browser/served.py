"""What the browser is shown: a file, a volume in a directory, one in S3, and a name with a trap."""

from __future__ import annotations

from pathlib import Path

import attrs

from tests.interop.clients import Clients
from tests.service.twistd import Twistd

MIB = 1 << 20

#: What a careless page would run.
HOSTILE = "<img src=x onerror=document.title='owned'>"

CONFIGURATION = """\
[gateway]
state_dir = state

[listen:nbd]
endpoint = unix:nbd.sock

[listen:admin]
protocol = http
endpoint = tcp:{port}:interface=127.0.0.1

[export:plain]
provider = file
path = plain.raw
size = 64M

[export:files]
provider = directory
path = objects
size = 64M

[export:bucket]
provider = s3
bucket = disks
endpoint_url = {s3}
region = us-east-1
size = 64M

[export:{hostile}]
provider = memory
size = 1M
description = {hostile}
"""


@attrs.frozen
class Served:
    """A running gateway."""

    directory: Path
    port: int
    process: Twistd
    clients: Clients

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def nbd(self, name: str) -> str:
        return f"nbd+unix:///{name}?socket={self.directory}/nbd.sock"
