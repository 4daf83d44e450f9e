"""The wheel, not the checkout, is what people install."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.twistd import PATIENCE, ROOT, until

_TWISTD = ["-c", "from twisted.scripts.twistd import run; run()"]
_SOURCES = (
    *("gateway", "backends", "twisted", "docs/man"),
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _copy(target: Path) -> Path:
    """The sources, so that building leaves nothing in the checkout."""
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info")
            shutil.copytree(source, target / name, ignore=leave)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy(source, target / name)
    return target


def _empty_environment(target: Path) -> Path:
    """
    A virtual environment that holds what we depend on and not ourselves; returns its Python.

    A path file lends it the packages of the environment the tests run in;
    path files in there, such as an editable install's, are not followed.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True)
    python = target / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(found.stdout.strip()) / "borrowed.pth").write_text("\n".join(paths) + "\n")
    return python


def _install(python: Path, *what: str) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install"),
            *("--quiet", "--no-deps", "--no-build-isolation", "--no-index", *what),
        ],
        check=True,
        env=_environment(),
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources as they are."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--no-index", "--wheel-dir", directory / "dist"),
            _copy(directory / "source"),
        ],
        check=True,
        env=_environment(),
        stdin=subprocess.DEVNULL,
    )
    (made,) = (directory / "dist").glob("nbdgateway-*.whl")
    return made


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The Python of an environment with the gateway installed, in each way there is."""
    directory = tmp_path_factory.mktemp(request.param)
    made = _empty_environment(directory / "environment")
    if request.param == "wheel":
        _install(made, str(wheel))
    else:
        _install(made, "--editable", str(_copy(directory / "source")))
    yield made


def test_the_wheel_holds_our_packages_and_the_plugin_only(wheel: Path) -> None:
    """Tests and documents stay out of site-packages, and so does twisted's own directory."""
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    manual = [name for name in names if ".data/data/share/man/" in name]
    assert [name.partition("/share/man/")[2] for name in sorted(manual)] == [
        "man1/nbdgateway.1",
        "man5/nbdgateway.ini.5",
    ]
    names = [name for name in names if name not in manual]
    assert {name.split("/")[0] for name in names} == {"gateway", "backends", "twisted"}
    assert [name for name in names if name.startswith("twisted/")] == [
        "twisted/plugins/nbdgateway_plugin.py"
    ]


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    """A new package that setup.cfg does not list is missed here."""
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        str(path.relative_to(ROOT))
        for package in ("gateway", "backends")
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules <= names
    dashboard = ROOT / "gateway" / "http" / "dashboard"
    assert {str(path.relative_to(ROOT)) for path in dashboard.iterdir()} <= names


def test_twistd_lists_the_gateway(python: Path, tmp_path: Path) -> None:
    """A plugin that does not load just disappears, so its presence is the test."""
    done = subprocess.run(
        [python, *_TWISTD, "--help"],
        check=True,
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert "nbdgateway" in done.stdout


def test_an_installed_gateway_starts_and_stops(python: Path, tmp_path: Path) -> None:
    """Everything that serving needs is in the package."""
    log = tmp_path / "log"
    process = subprocess.Popen(
        [python, *_TWISTD, "-n", "--pidfile=", "--logfile=log", "nbdgateway", "--port=0"],
        cwd=tmp_path,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(
            lambda: (
                process.poll() is not None
                or (log.exists() and "export disk is open" in log.read_text())
            ),
            "the disk",
        )
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert "every export is closed" in log.read_text()
