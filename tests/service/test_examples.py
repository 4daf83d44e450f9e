"""What the examples and how-to pages show is true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.service.twistd import PATIENCE, ROOT, TWISTD, environment, run

PATTERN = "[export:p]\nprovider = pattern\nsize = 64K\nfill = {fill}\n"
LISTEN = "[listen:u]\nendpoint = unix:nbd.sock\n"


def test_the_example_configuration_has_no_mistakes(directory: Path) -> None:
    """It may be copied as it is."""
    shutil.copy(ROOT / "examples" / "gw.ini", directory)
    done = run(directory, "nbdgateway", "--config", "gw.ini", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "export disk0: file" in done.stdout


def with_provider(directory: Path) -> dict[str, str]:
    """An environment in which the example provider is as good as installed."""
    copy = directory / "provider"
    shutil.copytree(ROOT / "examples" / "provider", copy)
    values = environment()
    return {**values, "PYTHONPATH": os.pathsep.join([str(copy), values["PYTHONPATH"]])}


def test_a_provider_of_a_third_party_is_found_and_served(directory: Path) -> None:
    """twisted.plugin finds it, its settings are checked, and its bytes arrive."""
    (directory / "gw.ini").write_text(LISTEN + PATTERN.format(fill=171))
    values = with_provider(directory)
    check = [*TWISTD, "nbdgateway", "--config", "gw.ini", "--check"]
    done = subprocess.run(check, cwd=directory, env=values, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "export p: pattern; 65536 bytes of 171" in done.stdout

    (directory / "gw.ini").write_text(LISTEN + PATTERN.format(fill=256))
    done = subprocess.run(check, cwd=directory, env=values, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'fill: got "256", expected a number from 0 to 255' in done.stderr


def test_a_client_reads_what_the_example_provider_holds(directory: Path) -> None:
    """Through a real connection, without any other project's client."""
    (directory / "gw.ini").write_text(LISTEN + PATTERN.format(fill=171))
    values = with_provider(directory)
    client = (
        "import socket, struct, sys, time\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "while True:\n"
        "    try: s.connect('nbd.sock'); break\n"
        "    except OSError: time.sleep(0.02)\n"
        "f = s.makefile('rwb')\n"
        "assert f.read(18).startswith(b'NBDMAGICIHAVEOPT')\n"
        "f.write(struct.pack('>I8sII', 3, b'IHAVEOPT', 1, 1) + b'p'); f.flush()\n"
        "size, flags = struct.unpack('>QH', f.read(10))\n"
        "f.write(struct.pack('>IHHQQI', 0x25609513, 0, 0, 7, 4096, 512)); f.flush()\n"
        "assert f.read(16) == struct.pack('>IIQ', 0x67446698, 0, 7)\n"
        "assert (size, f.read(512)) == (65536, b'\\xab' * 512)\n"
    )
    gateway = subprocess.Popen(
        [*TWISTD, "-n", "--pidfile=", "--logfile=log", "nbdgateway", "--config=gw.ini"],
        cwd=directory,
        env=values,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        subprocess.run([sys.executable, "-c", client], cwd=directory, check=True, timeout=PATIENCE)
    finally:
        gateway.terminate()
        gateway.wait(PATIENCE)


def test_a_provider_that_does_not_load_is_named(directory: Path) -> None:
    """Twisted drops it in silence; the message says which module and why."""
    (directory / "gw.ini").write_text(LISTEN + PATTERN.format(fill=1))
    values = with_provider(directory)
    shutil.rmtree(directory / "provider" / "example_provider")
    done = subprocess.run(
        [*TWISTD, "nbdgateway", "--config", "gw.ini", "--check"],
        cwd=directory,
        env=values,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "twisted.plugins.example_provider_plugin does not load" in done.stderr
    assert "No module named 'example_provider'" in done.stderr
