"""The image: its file, what is copied into it, and its check of health."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.twistd import PATIENCE, ROOT, TWISTD, environment, until

Tool = Callable[[str], str]

DOCKERFILE = ROOT / "packaging" / "Dockerfile"
HEALTHCHECK = ROOT / "packaging" / "healthcheck.py"


def copied() -> list[str]:
    """What comes from the source tree."""
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_the_dockerfile_follows_the_linters_rules(tool: Tool) -> None:
    """hadolint's, all of them."""
    done = subprocess.run([tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_copied_is_enough_to_build_and_start_it(tmp_path: Path) -> None:
    """The installation of the image, from nothing but what the image has."""
    source = tmp_path / "source"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, ignore=leave)
        else:
            shutil.copy(ROOT / name, source / Path(name).name)
    wheels = tmp_path / "wheels"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--no-index", "--wheel-dir", wheels, source),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (wheel,) = wheels.glob("nbdgateway-*.whl")
    target = tmp_path / "installed"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--target", target, wheel),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    done = subprocess.run(
        [*TWISTD, "nbdgateway", "--check"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "export disk: file" in done.stdout


def test_its_words_are_those_of_a_shell_that_is_there() -> None:
    """Entry point and command together are how twistd is called everywhere else."""
    text = DOCKERFILE.read_text()
    assert 'ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "nbdgateway"]' in text
    assert 'CMD ["--config", "/etc/nbdgateway/gw.ini"]' in text
    assert re.search(r"^USER (?!0)\d+:\d+$", text, re.MULTILINE), "not as root"
    assert "packaging/healthcheck.py" in copied()


def healthy(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HEALTHCHECK), *arguments],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its path leaves room for a Unix socket."""
    return tmp_path_factory.mktemp("i")


@pytest.mark.parametrize("endpoint", ["unix:nbd.sock", "tcp:{port}:interface=127.0.0.1"])
def test_health_is_an_nbd_server_that_greets(
    directory: Path, endpoint: str, free_port: int
) -> None:
    """Sick before it listens, well while it does."""
    (directory / "gw.ini").write_text(
        f"[listen:u]\nendpoint = {endpoint.format(port=free_port)}\n"
        "[export:m]\nprovider = memory\nsize = 1M\n"
    )
    before = healthy(directory, "gw.ini")
    assert before.returncode == 1 and before.stderr
    log = directory / "log"
    process = subprocess.Popen(
        [*TWISTD, "-n", "--pidfile=", "--logfile=log", "nbdgateway", "--config=gw.ini"],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: log.exists() and "export m is open" in log.read_text(), "the gateway")
        done = healthy(directory, "gw.ini")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_a_configuration_with_mistakes_is_sick_and_says_why(directory: Path) -> None:
    """`docker inspect` shows what the check printed."""
    (directory / "gw.ini").write_text("[oops]\n")
    done = healthy(directory, "gw.ini")
    assert done.returncode == 1
    assert "gw.ini:1: [oops]" in done.stderr
    assert healthy(directory).returncode == 2
