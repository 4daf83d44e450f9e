"""What a command imports is what its user waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.environment import environment

#: What serving, TLS and S3 need, and what just one command shows or makes.
HEAVY = {
    "boto3",
    "botocore.session",
    "cryptography.x509",
    "gateway.listeners",
    "gateway.nbd.server",
    "matplotlib",
    "OpenSSL",
    "PIL",
    "prometheus_client",
    "shtab",
    "tqdm",
    "twisted.internet.endpoints",
    "twisted.internet.tcp",
}

#: A reactor has TCP, and Twisted's TCP has TLS, whether it is needed or not.
OF_A_REACTOR = {"cryptography.x509", "OpenSSL", "twisted.internet.tcp"}

_SHOWS_MODULES = """
import sys
from gateway.cli.main import main
try:
    status = main()
except SystemExit as end:
    status = end.code
sys.stderr.write(" ".join(sys.modules))
sys.exit(status)
"""


def _imported(directory: Path, *arguments: str) -> set[str]:
    """The modules at the end of a command that has to succeed."""
    done = subprocess.run(
        [sys.executable, "-c", _SHOWS_MODULES, *arguments],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["volume", "list", "--help"]])
def test_help_imports_neither_a_reactor_nor_tls(tmp_path: Path, arguments: list[str]) -> None:
    """Nor what but one command needs."""
    imported = _imported(tmp_path, *arguments)
    assert "gateway.cli.arguments" in imported
    assert not imported & HEAVY


def test_a_configuration_is_checked_without_what_would_serve_it(tmp_path: Path) -> None:
    """With a volume in S3 and a port; TLS is looked at where a listener has it."""
    (tmp_path / "gw.ini").write_text(
        "[gateway]\nstate_dir = state\n"
        "[export:vm1]\nprovider = s3\nbucket = disks\nsize = 1G\n"
        "[listen:tcp]\nendpoint = tcp:10809:interface=127.0.0.1\n"
    )
    imported = _imported(tmp_path, "config", "check")
    assert "backends.volume.s3_provider" in imported
    assert not imported & (HEAVY - OF_A_REACTOR)


def test_a_volume_is_described_without_what_would_serve_it(tmp_path: Path) -> None:
    """One that lies in a directory."""
    (tmp_path / "objects").mkdir()
    url = f"file://{tmp_path}/objects/vm1"
    _imported(tmp_path, "volume", "create", url, "1M")
    assert not _imported(tmp_path, "volume", "list", url.rpartition("/")[0]) & (
        HEAVY - OF_A_REACTOR
    )


def test_each_heavy_module_is_one() -> None:
    """Those that are installed are found by these names: the tests above would see them."""
    for name in HEAVY - {"matplotlib", "PIL"}:
        __import__(name)
        assert name in sys.modules
