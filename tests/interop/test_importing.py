"""Disks of other projects' servers are imported, and exported to, by our own client."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import copying
from gateway.cli.exits import Exit
from gateway.cli.main import main
from gateway.cli.running import Interrupted
from gateway.info import MIB
from gateway.notes import Note
from tests.interop.clients import Clients
from tests.interop.gateway import unused_port
from tests.interop.images import Image
from tests.programs.running import run
from tests.service.twistd import Twistd

pytestmark = pytest.mark.interop


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        monkeypatch.chdir(made)
        monkeypatch.setenv("XDG_STATE_HOME", f"{made}/state")
        Path(made, "objects").mkdir()
        yield Path(made)


def imported(here: Path, uri: str) -> Path:
    """What a volume holds after an import, as a file."""
    assert main(["import", uri, f"file://{here}/objects/vm1"]) == 0
    assert main(["export", f"file://{here}/objects/vm1", "out.raw"]) == 0
    return here / "out.raw"


def test_a_qcow2_image_comes_in_by_qemu_nbd(here: Path, clients: Clients, image: Image) -> None:
    """Block status and all: what is not in the image is not asked for."""
    clients.start(
        "qemu-nbd", "--fork", "-r", "-t", "-k", here / "q.sock", "--pid-file", here / "pid",
        image.qcow2,
    )  # fmt: skip
    try:
        out = imported(here, "nbd+unix:///?socket=q.sock")
    finally:
        clients.run("sh", "-c", f"kill $(cat {here}/pid)")
    assert out.read_bytes() == image.raw.read_bytes()


@pytest.mark.parametrize("options", [(), ("--no-sr",)])
def test_nbdkit_is_read_with_and_without_structured_replies(
    here: Path, clients: Clients, image: Image, options: tuple[str, ...]
) -> None:
    """The older way of the protocol brings the same bytes."""
    clients.start("nbdkit", *options, "-U", here / "n.sock", "-P", here / "pid", "file", image.raw)
    try:
        out = imported(here, "nbd+unix:///?socket=n.sock")
    finally:
        clients.run("sh", "-c", f"kill $(cat {here}/pid)")
    assert out.read_bytes() == image.raw.read_bytes()


def test_a_volume_goes_out_to_another_server(here: Path, clients: Clients, image: Image) -> None:
    """Over what it held before, if that is meant."""
    assert main(["import", str(image.raw), f"file://{here}/objects/vm1"]) == 0
    size = image.raw.stat().st_size
    (here / "there.raw").write_bytes(bytes([255]) * size)
    clients.start(
        "qemu-nbd", "--fork", "-f", "raw", "-t", "-k", here / "q.sock", "--pid-file", here / "pid",
        here / "there.raw",
    )  # fmt: skip
    try:
        words = ["export", f"file://{here}/objects/vm1", "nbd+unix:///?socket=q.sock"]
        assert main(words) == Exit.USAGE
        assert main([*words, "--overwrite"]) == Exit.OK
    finally:
        clients.run("sh", "-c", f"kill $(cat {here}/pid)")
    assert (here / "there.raw").read_bytes() == image.raw.read_bytes()


def test_an_export_is_not_gone_on_with_in_another_disk_of_that_name(
    here: Path,
    clients: Clients,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Behind the same socket there is another disk today, and half of ours would be missing."""
    assert main(["import", str(image.raw), f"file://{here}/objects/vm1"]) == 0
    size = image.raw.stat().st_size
    words = ["export", f"file://{here}/objects/vm1", "nbd+unix:///?socket=n.sock"]
    write = Note.write

    def interrupt(note: Note, reached: int) -> None:
        write(note, reached)
        if reached:
            raise Interrupted("--resume goes on")

    def serve(name: str, length: int) -> None:
        (here / name).write_bytes(bytes([255]) * length)
        clients.start("nbdkit", "-U", here / "n.sock", "-P", here / "pid", "file", here / name)

    def stop() -> None:
        clients.run("sh", "-c", f"kill $(cat {here}/pid)")
        (here / "n.sock").unlink(missing_ok=True)

    monkeypatch.setattr(copying, "STEP", MIB)
    serve("first.raw", size)
    try:
        monkeypatch.setattr(Note, "write", interrupt)
        assert main([*words, "--overwrite"]) == Exit.INTERRUPTED
        monkeypatch.setattr(Note, "write", write)
    finally:
        stop()
    for name, length, said in (
        ("larger.raw", size + MIB, "no note of such a copy"),
        ("as-large.raw", size, "does not have what was copied"),
    ):
        serve(name, length)
        capsys.readouterr()
        try:
            assert main([*words, "--resume"]) == Exit.USAGE
            assert said in capsys.readouterr().err
        finally:
            stop()
        assert (here / name).read_bytes() == bytes([255]) * length


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own: Twisted's TLS wants a reactor to itself."""
    return run("nbdgateway", *words, directory=Path.cwd())


def test_a_gateway_is_read_by_tls_with_certificates(here: Path) -> None:
    """Those that `nbdgateway tls` makes; without one of them nobody gets in."""
    for words in (("init-ca", "--days", "30"), ("server", "localhost", "--days", "30"),
                  ("client", "vm17", "--days", "30")):  # fmt: skip
        assert main(["tls", *words]) == 0
    port = unused_port()
    (here / "gw.ini").write_text(
        f"[listen:a]\nendpoint = tcp:{port}:interface=127.0.0.1\n"
        "tls_certificate = pki/server-cert.pem\ntls_key = pki/server-key.pem\n"
        "tls_client_ca = pki/ca-cert.pem\n"
        "[export:disk]\nprovider = memory\nsize = 4M\n"
    )
    (here / "disk.raw").write_bytes(bytes([5]) * 4 * MIB)
    address = f"nbds://localhost:{port}/disk"
    gateway = Twistd(here, "--config", "gw.ini")
    try:
        gateway.wait_for("export disk is open")
        done = command("import", "disk.raw", f"{address}?tls-certificates=pki/vm17")
        assert (done.returncode, done.stderr) == (0, "")
        done = command("export", f"{address}?tls-certificates=pki/vm17", "out.raw")
        assert (done.returncode, done.stderr) == (0, "")
        assert (here / "out.raw").read_bytes() == bytes([5]) * 4 * MIB
        done = command("export", f"nbd://localhost:{port}/disk", "clear.raw")
        assert done.returncode == 1
        assert "TLS" in done.stderr
        assert command("export", f"{address}?tls-certificates=pki", "nobody.raw").returncode == 1
        assert not (here / "nobody.raw").exists()
    finally:
        gateway.stop()
