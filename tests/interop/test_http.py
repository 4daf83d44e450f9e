"""Other projects' clients of HTTP read disks, changes and metrics of a running gateway."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.certificates import make_certificates
from tests.interop.clients import Clients, find
from tests.interop.gateway import unused_port
from tests.interop.images import Image
from tests.service.twistd import Twistd

pytestmark = pytest.mark.interop

TOKEN = "0123456789abcdef0123456789abcdef"

CONFIGURATION = """\
[listen:nbd]
endpoint = unix:nbd.sock

[listen:admin]
protocol = http
endpoint = tcp:{port}:interface=127.0.0.1

[listen:net]
protocol = http
endpoint = tcp:{tls_port}
tls_certificate = server-cert.pem
tls_key = server-key.pem
token_file = token

[listen:operators]
protocol = http
endpoint = unix:http.sock

[export:vm]
provider = directory
path = objects
size = 64M

[export:scratch]
provider = memory
size = 64M
"""

Start = Callable[..., Twistd]


@attrs.frozen
class Served:
    """A gateway with a volume, over NBD and HTTP."""

    directory: Path
    clients: Clients
    process: Twistd
    port: int
    tls_port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def nbd(self, name: str) -> str:
        return f"nbd+unix:///{name}?socket={self.directory}/nbd.sock"

    def curl(self, *arguments: str) -> str:
        """With the status in a last line."""
        return self.clients.run("curl", "-sS", "-w", "\n%{http_code}", *arguments)

    def operate(self, method: str, path: str, **value: Any) -> Any:
        """On the Unix socket."""
        answer = self.curl(
            "--unix-socket",
            f"{self.directory}/http.sock",
            *("-X", method, "-H", "content-type: application/json", "-d", json.dumps(value)),
            f"http://gateway{path}",
        )
        body, _, status = answer.rpartition("\n")
        assert status.startswith("20"), answer
        return json.loads(body)


@pytest.fixture
def served(directory: Path, start: Start, clients: Clients) -> Served:
    """Ready for clients."""
    port, tls_port = unused_port(), unused_port()
    make_certificates(directory)
    token = directory / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    text = CONFIGURATION.format(port=port, tls_port=tls_port)
    (directory / "gw.ini").write_text(text)
    process = start("--config", "gw.ini")
    process.wait_for("export vm is open")
    return Served(directory, clients, process, port, tls_port)


def test_curl_and_nbdkit_read_a_snapshot_as_an_image(served: Served, image: Image) -> None:
    """Whole, and by the ranges that nbdcopy asks nbdkit for."""
    clients, directory = served.clients, served.clients.directory
    clients.run("nbdcopy", "--flush", image.raw, served.nbd("vm"))
    served.operate("POST", "/v1/exports/vm/snapshots", name="monday")
    clients.qemu_io(served.nbd("vm"), "write -P 7 1M 64k", "flush")
    path = served.url("/v1/exports/vm@monday/raw")
    clients.run("curl", "-sSf", "-o", "whole.raw", path)
    assert filecmp.cmp(image.raw, directory / "whole.raw", shallow=False)
    clients.run("nbdkit", "-U", "-", "curl", path, "--run", 'nbdcopy "$uri" ranges.raw')
    assert filecmp.cmp(image.raw, directory / "ranges.raw", shallow=False)
    changed = served.curl(served.url("/v1/exports/vm/extents?context=changed&since=monday"))
    dirty = [one for one in json.loads(changed.rpartition("\n")[0]) if one["dirty"]]
    assert [(one["start"], one["length"]) for one in dirty] == [(1 << 20, 65536)]


def test_qemu_img_reads_a_disk_by_its_curl_driver(served: Served, image: Image) -> None:
    """
    That of qemu 7.2 hangs now and then, whatever the server: a client fault,
    so it may try again.
    """
    served.clients.run("nbdcopy", "--flush", image.raw, served.nbd("scratch"))
    command = [find("qemu-img"), "convert", "-f", "raw", "-O", "raw"]
    command += [served.url("/v1/exports/scratch/raw"), "copy.raw"]
    directory = served.clients.directory
    for attempt in range(5):
        try:
            done = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, timeout=40
            )
            break
        except subprocess.TimeoutExpired:
            assert attempt < 4, "it hung five times"
    if "Unknown protocol" in done.stderr and not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"):
        pytest.skip("qemu's curl driver is not installed")
    assert done.returncode == 0, done.stderr
    assert filecmp.cmp(image.raw, directory / "copy.raw", shallow=False)


def test_extents_and_map_say_what_nbdinfo_says(served: Served, image: Image) -> None:
    """Over other paths."""
    served.clients.run("nbdcopy", "--flush", image.raw, served.nbd("vm"))
    told = json.loads(served.clients.run("nbdinfo", "--json", "--map", served.nbd("vm")))
    expected = [
        (one["offset"], one["length"], bool(one["type"] & 2), bool(one["type"] & 1)) for one in told
    ]
    answer = served.curl(served.url("/v1/exports/vm/extents"))
    extents = json.loads(answer.rpartition("\n")[0])
    found = [(one["start"], one["length"], one["zero"], one["hole"]) for one in extents]
    assert found == expected
    cells = json.loads(served.curl(served.url("/v1/exports/vm/map?cells=64")).rpartition("\n")[0])
    assert sum(cells["data"]) == sum(one[1] for one in expected if not one[2])


def test_metrics_follow_what_clients_do(served: Served) -> None:
    """To the byte."""
    served.clients.qemu_io(served.nbd("vm"), "write 0 64k", "read 0 4k", "write -z 1M 1M", "flush")
    text = served.curl(served.url("/metrics")).rpartition("\n")[0]
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parse(text)
        for sample in family.samples
    }
    assert found["nbdgw_request_bytes_total", "nbd", "vm", "write"] == 65536
    assert found["nbdgw_request_bytes_total", "nbd", "vm", "write_zeroes"] == 1 << 20
    assert found["nbdgw_zero_bytes_avoided_total", "vm"] >= 1 << 20
    assert found["nbdgw_volume_oldest_dirty_seconds", "vm"] == 0
    assert found["nbdgw_s3_requests_total", "ok", "put", "vm"] >= 2
    assert found["nbdgw_tls_certificate_expiry_timestamp_seconds", "net"] > 1e9
    served.process.wait_for("65536 written, 0 errors, TLS off")


def test_https_with_a_token_serves_other_machines(served: Served) -> None:
    """And without it nobody, but for health."""
    base = f"https://localhost:{served.tls_port}"
    trust = ["--cacert", f"{served.directory}/ca-cert.pem"]
    bearer = ["-H", f"Authorization: Bearer {TOKEN}"]
    assert served.curl(*trust, f"{base}/readyz") == "ready\n\n200"
    assert served.curl(*trust, f"{base}/v1/exports").endswith("\n401")
    assert served.curl(*trust, *bearer, f"{base}/v1/exports").endswith("\n200")
    size = served.clients.run(
        "curl", "-sSf", *trust, *bearer, "-o", "/dev/null", "-w", "%{size_download}",
        f"{base}/v1/exports/scratch/raw",
    )  # fmt: skip
    assert size == str(64 << 20)
    assert TOKEN not in served.process.text()


def test_a_reload_takes_a_new_token(served: Served) -> None:
    """Without letting go of the port."""
    base, other = f"https://localhost:{served.tls_port}", "another-token-of-some-length"
    (served.directory / "token").write_text(other)
    served.process.hang_up()
    served.process.wait_for("configuration reloaded")
    trust = ["--cacert", f"{served.directory}/ca-cert.pem"]
    for token, status in ((TOKEN, 401), (other, 200)):
        answer = served.curl(*trust, "-H", f"Authorization: Bearer {token}", f"{base}/v1/summary")
        assert answer.endswith(f"\n{status}")
