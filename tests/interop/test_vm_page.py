"""
Every block of docs/howto/vm.md is executed, in QEMU, libvirt and a guest's own kernel.

Paths, ports and names are put in their place; ``-accel kvm`` becomes software emulation, and the
bucket a directory. `NOT_RUN` are the blocks for which this machine is not enough.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.interop.clients import PATIENCE, Clients, find
from tests.interop.gateway import unused_port
from tests.interop.guests import Boot, boot, guest
from tests.interop.page import blocks
from tests.interop.qmp import Qmp
from tests.programs.running import run
from tests.service.twistd import Twistd, until

__all__ = ["boot", "guest"]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

Start = Callable[..., Twistd]

PAGE = blocks("howto/vm.md")

#: A second host is needed: `test_a_machine_moves_to_another_qemu` does without libvirt.
NOT_RUN = {"Live migration": 1}

#: Blocks below each heading that some test here executes.
RUN = {
    "Serve the disk": 1,
    "QEMU on the same host": 1,
    "Several disks": 1,
    "QEMU over TLS": 2,
    "libvirt": 4,
    "A block device on a host, with nbd-client": 2,
    "Make the disk larger": 2,
    "Snapshot, clone, boot the clone": 3,
}

LISTENERS = """
[listen:x509]
endpoint = tcp:{x509}:interface=127.0.0.1
tls_certificate = server-cert.pem
tls_key = server-key.pem
tls_client_ca = ca-cert.pem
[listen:psk]
endpoint = tcp:{psk}:interface=127.0.0.1
tls_psk_file = keys.psk
[listen:clear]
endpoint = tcp:{clear}:interface=127.0.0.1
"""


def text_of(heading: str, number: int = 0) -> str:
    """A block of the page."""
    return [block.text for block in PAGE if block.heading == heading][number]


class Host:
    """
    A gateway that serves what the page configures, in a directory that stands for all others.
    """

    def __init__(self, directory: Path, start: Start) -> None:
        self.directory = directory
        self._start = start
        make_certificates(directory)
        (directory / "alice").mkdir()
        key = f"alice:{secrets.token_hex(32)}\n"
        for path in (directory / "keys.psk", directory / "alice" / "keys.psk"):
            path.touch(mode=0o600)
            path.write_text(key)
        self.ports = {name: unused_port() for name in ("x509", "psk", "clear")}
        served = self.here(text_of("Serve the disk")) + LISTENERS.format(**self.ports)
        (directory / "gw.ini").write_text(served)
        self.start()

    def start(self) -> None:
        """Start the gateway."""
        self.gateway = self._start("--config", "gw.ini")
        for name in ("vm1", "vm1-data"):
            self.gateway.wait_for(f"export {name} is open")

    def restart(self) -> None:
        """As ``systemctl restart`` does."""
        self.gateway.stop()
        self.start()

    def here(self, text: str, listener: str = "x509") -> str:
        """What the page says, of this machine."""
        for there, here in {
            "provider = s3\nbucket = my-disks": "provider = directory\npath = objects",
            "size = 100G": "size = 512M",  # mkfs in a guest writes more to a larger one
            "size = 1T": "size = 256M",
            "/var/lib/nbdgateway": "state",
            "/run/nbdgateway": str(self.directory),
            "gateway.example": "127.0.0.1",
            "10809": str(self.ports[listener]) if hasattr(self, "ports") else "10809",
            "/etc/pki/vm17": str(self.directory),
            "/etc/pki/alice": str(self.directory / "alice"),
            "-accel kvm -m 2G -nographic": "-accel tcg -cpu max -m 256M -nic none",
        }.items():
            text = text.replace(there, here)
        return text

    def command(self, heading: str, number: int = 0, listener: str = "x509") -> list[str]:
        """One command of the page as arguments."""
        (line,) = self.here(text_of(heading, number), listener).replace("\\\n", "").splitlines()
        return [find("qemu-system-x86_64"), *shlex.split(line)[1:]]

    def operate(self, text: str) -> None:
        """Commands of the page that start with ``nbdgateway``."""
        for line in text.splitlines():
            name, *arguments = shlex.split(line)
            assert name == "nbdgateway"
            run("nbdgateway", *arguments, directory=self.directory).check_returncode()

    def uri(self, export: str) -> str:
        return f"nbd+unix:///{export}?socket={self.directory}/nbd.sock"


@pytest.fixture
def host(directory: Path, start: Start) -> Iterator[Host]:
    """It is there, and its log has no alarm at the end."""
    running = Host(directory, start)
    yield running
    text = running.gateway.text()
    assert "Traceback" not in text and "Unhandled" not in text, text


def paused(command: list[str]) -> Qmp:
    """A machine that does not run, but has its disks."""
    # by line: qemu-io's words come before the monitor's
    return Qmp([find("stdbuf"), "-oL", *command, "-S", "-display", "none", "-qmp", "stdio"])


def test_every_block_of_the_page_is_known() -> None:
    """A new one needs a test, or a reason not to have one."""
    counted = Counter(block.heading for block in PAGE)
    assert counted == Counter(RUN) + Counter(NOT_RUN)


@pytest.mark.parametrize(
    ("heading", "number", "listener"),
    [
        ("QEMU on the same host", 0, "x509"),
        ("Several disks", 0, "x509"),
        ("QEMU over TLS", 0, "x509"),
        ("QEMU over TLS", 1, "psk"),
    ],
)
def test_qemu_has_the_disk_and_keeps_it_over_a_restart(
    clients: Clients, host: Host, heading: str, number: int, listener: str
) -> None:
    """Zeroes and trims arrive as such; requests of the time without a gateway are answered."""
    with paused(host.command(heading, number, listener)) as machine:
        assert "wrote 1048576/1048576" in machine.qemu_io("vm1", "write -P 7 1M 1M")
        machine.qemu_io("vm1", "write -P 0 1M 64k")
        machine.qemu_io("vm1", "discard 1536k 512k")
        host.restart()
        machine.qemu_io("vm1", "write -P 9 4M 64k")
        machine.qemu_io("vm1", "flush")
        if heading == "Several disks":
            machine.qemu_io("data", "write -P 5 0 64k")
            clients.qemu_io(host.uri("vm1-data"), "read -P 5 0 64k")
    extents = json.loads(clients.run("nbdinfo", "--json", "--map", host.uri("vm1")))
    data = [[one["offset"], one["length"]] for one in extents if one["type"] == 0]
    assert data == [[(1 << 20) + 65536, 458752], [4 << 20, 65536]]
    clients.qemu_io(host.uri("vm1"), "read -P 7 1088k 448k", "read -P 9 4M 64k")


GUEST = """
cat /sys/block/vda/serial; echo
cat /sys/block/vdb/serial; echo
cat /sys/block/vd?/size
[ "$(cat /sys/block/vda/queue/discard_max_bytes)" -gt 0 ]
mkfs.ext4 -q -F -E lazy_itable_init=1 /dev/vdb
mount /dev/vdb /mnt
echo "guest: writing"
for number in $(seq 1 24); do
    dd if=/dev/urandom of=/mnt/$number bs=64k count=4 conv=fsync 2>/dev/null
    sha256sum /mnt/$number >>/run/sums
    echo "guest: wrote $number"
done
umount /mnt
fsck.ext4 -fn /dev/vdb
mount /dev/vdb /mnt
sha256sum -c /run/sums
fstrim -v /mnt
umount /mnt
! dmesg | grep -i 'i/o error'
"""


def test_a_guest_writes_on_while_the_gateway_restarts(boot: Boot, host: Host) -> None:
    """
    With the page's two disks: every file is there, the file system is sound, no I/O error.

    In order first, then by ``kill -9``, where the file system's disk has ``write-cache=off``.
    """
    disks = host.command("Several disks")
    options = [
        f"{one},write-cache=off" if one.startswith("virtio-blk-pci") else one
        for one in disks[disks.index("-blockdev") :]
    ]
    machine = boot(GUEST, *options)
    machine.wait_for("guest: wrote 4\n")
    host.restart()
    machine.wait_for("guest: wrote 12\n")
    host.gateway.process.kill()
    host.gateway.process.wait()
    host.start()
    text = machine.finish()
    assert "vm1\n" in text and "data\n" in text
    assert f"{512 << 11}\n{256 << 11}\n" in text
    assert text.count(": OK\n") == 24


NBD_CLIENT = """
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
{direct}
{relayed}
mkfs.ext4 -q -F -E lazy_itable_init=1 /dev/nbd0
mount /dev/nbd0 /mnt
for number in $(seq 1 12); do
    dd if=/dev/urandom of=/mnt/$number bs=64k count=4 conv=fsync 2>/dev/null
    sha256sum /mnt/$number >>/run/sums
    echo "guest: wrote $number"
done
umount /mnt
fsck.ext4 -fn /dev/nbd0
mount /dev/nbd0 /mnt
sha256sum -c /run/sums
umount /mnt
nbd-client -d /dev/nbd0
! dmesg | grep -i 'i/o error'
"""


def test_the_kernels_client_in_a_guest(boot: Boot, host: Host) -> None:
    """
    The page's commands in a guest, whose kernel has the module, over its own network.

    The relay runs on the host; in place of its Unix socket, which the guest does not reach, it
    has a port. The gateway restarts under it.
    """
    direct, relayed = (text_of("A block device on a host, with nbd-client", i) for i in (0, 1))
    port = unused_port()
    relay, attach = relayed.replace("\\\n", "").splitlines()
    bind = f"--bind=127.0.0.1 --port={port} --pid-file={host.directory}/relay.pid"
    relay = host.here(relay.replace("--socket=/run/vm1.sock", bind))
    name, *arguments = shlex.split(relay)
    nowhere = subprocess.DEVNULL
    subprocess.run(
        [find(name), *arguments], check=True, timeout=PATIENCE,
        stdin=nowhere, stdout=nowhere, stderr=nowhere,
    )  # fmt: skip
    try:
        guests = NBD_CLIENT.format(
            direct=host.here(direct.replace("gateway.example", "10.0.2.2"), "clear"),
            relayed=attach.replace("-unix /run/vm1.sock", f"10.0.2.2 {port}"),
        )
        machine = boot(guests, "-nic", "user,model=virtio-net-pci")
        machine.wait_for("guest: wrote 3\n")
        host.restart()
        text = machine.finish()
    finally:
        os.kill(int((host.directory / "relay.pid").read_text()), 15)
    assert "vm1-data\n" in text  # in the list
    assert text.count(": OK\n") == 12


def test_a_disk_grows_under_a_machine(host: Host) -> None:
    """The machine has the new size without a restart, and can write to its end."""
    with paused(host.command("QEMU on the same host")) as machine:
        host.operate(text_of("Make the disk larger"))
        for line in host.here(text_of("Make the disk larger", 1)).splitlines():
            asked = json.loads(line)
            machine.call(asked["execute"], **asked["arguments"])
        (disk,) = [one for one in machine.call("query-block") if "virtio" in one.get("qdev", "")]
        assert disk["inserted"]["image"]["virtual-size"] == 200 << 30
        said = machine.qemu_io("vm1", f"write -P 3 {(200 << 30) - 65536} 64k")
        assert "wrote 65536/65536" in said


def test_a_clone_is_made_and_served(clients: Clients, host: Host) -> None:
    """The boot itself, by the page's last command, is in test_vm_example."""
    clients.qemu_io(host.uri("vm1"), "write -P 7 0 64k")
    heading = "Snapshot, clone, boot the clone"
    host.operate(text_of(heading))
    clients.qemu_io(host.uri("vm1"), "write -P 8 0 64k")
    with (host.directory / "gw.ini").open("a") as file:
        file.write(host.here(text_of(heading, 1)))
    host.gateway.hang_up()
    host.gateway.wait_for("export vm2 is open")
    machine = host.command("QEMU on the same host")
    with paused([part.replace("export=vm1", "export=vm2") for part in machine]) as booted:
        assert "read 65536/65536" in booted.qemu_io("vm1", "read -P 7 0 64k")
    assert text_of(heading, 2) == "python -m examples.vm\n"


def test_a_machine_moves_to_another_qemu(host: Host) -> None:
    """As live migration does: two at the same export, of which one at a time writes."""
    command = host.command("QEMU on the same host")
    place = f"unix:{host.directory}/migration.sock"
    with paused(command) as source, paused([*command, "-incoming", place]) as target:
        source.qemu_io("vm1", "write -P 7 0 64k")
        source.call("migrate", uri=place)
        until(lambda: source.call("query-migrate")["status"] == "completed", "the migration")
        assert "read 65536/65536" in target.qemu_io("vm1", "read -P 7 0 64k")
        assert "wrote 65536/65536" in target.qemu_io("vm1", "write -P 8 0 64k")
