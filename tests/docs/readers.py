"""
What the reader of a page has before its first line, and which blocks are not carried out.

A page that is not named here has a shell in an empty directory. A new page with more to it gets
an entry in `READERS`; a block that cannot be run here gets one in `NOT_RUN`, with its reason, or
in `INSTEAD`, with what is done in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.doubles.moto_server import ACCESS_KEY, SECRET_KEY

#: Credentials that moto takes, and the way to it.
S3 = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
}


@dataclass(frozen=True)
class Reader:
    """
    Whoever carries a page out.

    Attributes:
        hosts: names of the machine itself.
        buckets: in a store that ``AWS_ENDPOINT_URL`` leads to; none, and there is no store.
        files: that are there, by path.
        before: commands that were given already.
        serving: the last of them serves; nothing, and nothing does.
        environment: of the shell, beside what the store needs.
    """

    hosts: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    serving: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


#: Makes ``.venv`` what ``pip install`` would make it.
_INSTALLED = 'ln -s "$VIRTUAL" .venv\n'

_SERVE = "twistd -n nbdgateway --config {}"

_DISK0 = """\
[listen:net]
endpoint = tcp:10809:interface=127.0.0.1

[export:disk0]
provider = memory
size = 1G
"""

_VM1 = """\
[gateway]
state_dir = /var/lib/nbdgateway

[listen:net]
endpoint = tcp:10809:interface=127.0.0.1

[export:vm1]
provider = s3
bucket = disks
region = eu-central-1
size = 1G
"""

_IMPORT = """\
truncate -s 64M disk.raw
nbdgateway import disk.raw s3://disks/vm1
"""

_GW = "/etc/nbdgateway/gw.ini"

READERS: dict[str, Reader] = {
    "README.md": Reader(
        buckets=("disks",),
        before=_INSTALLED
        + "nbdgateway tls init-ca\nnbdgateway tls server gateway.example\ncp pki/*.pem .\n",
    ),
    "docs/tutorial/first-disk.md": Reader(before=_INSTALLED),
    "docs/tutorial/s3-disk.md": Reader(before=_INSTALLED),
    "docs/howto/backup.md": Reader(
        hosts=("gateway",),
        buckets=("disks",),
        files={_GW: _VM1},
        serving=_SERVE.format(_GW),
    ),
    "docs/howto/check-and-repair.md": Reader(
        buckets=("disks",),
        before=_IMPORT,
    ),
    "docs/howto/directory-volume.md": Reader(
        files={"gw.ini": "[listen:local]\nendpoint = unix:nbd.sock\n\n"}
    ),
    "docs/howto/monitoring.md": Reader(
        buckets=("disks",),
        before=_IMPORT + "mkdir -p /var/lib/prometheus/node-exporter\n",
    ),
    "docs/howto/move-a-volume.md": Reader(
        hosts=("old", "new"),
        buckets=("disks",),
        files={_GW: _VM1},
        before=_IMPORT,
        serving=_SERVE.format(_GW),
    ),
    "docs/howto/recover-from-the-bucket.md": Reader(
        buckets=("disks",),
        before=_IMPORT + "nbdgateway snapshot create s3://disks/vm1 nightly\n",
    ),
    "docs/howto/run-as-a-service.md": Reader(
        files={"gw.ini": "[export:disk0]\nprovider = memory\nsize = 64M\n"}
    ),
    "docs/howto/s3-volume.md": Reader(
        hosts=("s3.example",),
        buckets=("my-disks",),
        before="nbdgateway tls init-ca\ncp pki/ca-cert.pem /etc/nbdgateway/s3-ca.pem\n",
    ),
    "docs/howto/snapshots.md": Reader(
        hosts=("gateway",),
        buckets=("disks",),
        files={_GW: _VM1},
        serving=_SERVE.format(_GW),
    ),
    "docs/howto/tls.md": Reader(hosts=("gateway.example",)),
    "docs/explanation/costs.md": Reader(
        buckets=("disks",),
        before=_IMPORT,
    ),
    "docs/explanation/fast-zero.md": Reader(
        hosts=("gateway.example",),
        files={"gw.ini": _DISK0},
        before="qemu-img create -q -f raw image.raw 1G\n"
        "qemu-io -f raw -c 'write -P 7 1M 4M' image.raw\n"
        "qemu-img convert -f raw -O qcow2 image.raw image.qcow2\n",
        serving=_SERVE.format("gw.ini"),
    ),
    "docs/reference/commands.md": Reader(
        buckets=("disks",), files={_GW: _VM1}, serving=_SERVE.format(_GW)
    ),
}

#: By page and first line: what is done in place of a block, as a fence would say it, and why.
INSTEAD: dict[tuple[str, str], tuple[tuple[str, ...], str, str]] = {
    (
        "README.md",
        "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/twistd -n nbdgateway",
    ): (
        ("serve",),
        ".venv/bin/twistd -n nbdgateway",
        "installing is tried by tests/wheel, and fetches packages",
    ),
    ("docs/tutorial/first-disk.md", "python3 -m venv .venv"): (
        ("serve",),
        ".venv/bin/twistd -n nbdgateway",
        "installing is tried by tests/wheel, and fetches packages",
    ),
    ("docs/tutorial/s3-disk.md", "python3 -m venv .venv"): (
        (),
        "true",
        "installing is tried by tests/wheel, and fetches packages",
    ),
    ("docs/howto/snapshots.md", "systemctl reload nbdgateway"): (
        (),
        "kill -HUP $(cat twistd.pid)",
        "there is no systemd in a test; this is what the unit does",
    ),
}

#: Pages that another test carries out, as they need more than a shell; and which.
ELSEWHERE = {
    "docs/howto/vm.md": "tests/interop/test_vm_page.py boots what it can of them",
}

_CI = "takes minutes; CI runs it, or more of it"

#: By page and first line: blocks that are not carried out, and why.
NOT_RUN: dict[tuple[str, str], str] = {
    (
        "README.md",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ): "this is a part of it",
    (
        "docs/howto/run-as-a-service.md",
        "python3 -m venv /opt/nbdgateway && /opt/nbdgateway/bin/pip install nbdgateway",
    ): "makes a user of the machine",
    ("docs/howto/run-as-a-service.md", "[Socket]"): (
        "systemd reads it; what systemd hands over is in tests/interop/test_activation.py"
    ),
    ("docs/tutorial/s3-disk.md", "modprobe nbd"): (
        "needs NBD in the kernel, and is for the whole machine; the page goes on without"
    ),
    ("docs/explanation/volume-figures.md", "python -m benchmarks.volume_figures --quick"): (
        "takes minutes; tests/figures holds most of them"
    ),
    (
        "docs/howto/run-as-a-service.md",
        "systemctl daemon-reload && systemctl enable --now nbdgateway",
    ): ("there is no systemd in a test; tests/service/test_systemd.py is for it"),
    (
        "docs/howto/run-as-a-service.md",
        "journalctl -u nbdgateway -p warning",
    ): "there is no journal",
    (
        "docs/howto/run-as-a-service.md",
        "docker build -f packaging/Dockerfile -t nbdgateway .",
    ): "there is no docker; tests/packaging/test_image.py looks at the file",
    (
        "docs/howto/monitoring.md",
        (
            "journalctl -u nbdgateway -o cat | jq -r 'select(.stage) | [.time, .export, .op, .ms,"
            " .stage, .s3_request_id] | @tsv'"
        ),
    ): "there is no journal",
    ("docs/reference/http.md", "openssl rand -hex 32 > token && chmod 600 token"): (
        "needs a listener for other machines; tests/interop/test_http.py has one"
    ),
    (
        "docs/reference/http.md",
        "curl -o disk.raw http://localhost:10810/v1/exports/vm1@nightly/raw",
    ): "qemu's curl driver hangs now and then, as the page says; see tests/interop/test_http.py",
    ("docs/howto/write-a-provider.md", "pip install ./examples/provider"): (
        "the shell has it in its PYTHONPATH"
    ),
    (
        "docs/explanation/how-we-know.md",
        "python -m tests.simulation.run --seeds 0:2000 --jobs 2",
    ): _CI,
    ("docs/explanation/how-we-know.md", "python -m tests.mutations.run"): (
        "takes hours: each change of the program runs the tests"
    ),
    (
        "docs/explanation/how-we-know.md",
        "pytest tests/crash/test_kill.py                  # seven for each store and durability",
    ): _CI,
}
