"""
A small Linux for virtual machines: Debian's kernel, busybox, and programs of this machine.

Nothing is installed and nobody has to be root: the kernel's package is fetched
and unpacked into a directory; programs are copied with the libraries they need.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).parent / "guest"

#: Debian's kernel with the drivers of virtual machines and few others.
KERNEL_PACKAGE = "linux-image-cloud-amd64"

#: Kernel modules that the guest loads; those they depend on are found.
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "nbd")

#: Programs that are better than busybox's: packages e2fsprogs and util-linux.
PROGRAMS = ("mkfs.ext4", "resize2fs", "fstrim")


class Missing(Exception):
    """A program or package that is needed is not there; the text says which."""


def find(program: str) -> Path:
    """
    Where a program is.

    Raises:
        Missing: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise Missing(f"{program} is not installed")
    return Path(found)


def fetch_kernel(directory: Path, package: str = KERNEL_PACKAGE) -> None:
    """
    Fetch Debian's kernel and unpack it below ``directory``, unless one is there.

    Args:
        package: of the kernel itself, or one that depends on it.

    Raises:
        Missing: apt knows no such package, or cannot fetch it.
    """
    if list(directory.glob("boot/vmlinuz-*")):
        return
    depends = _run(find("apt-cache"), "depends", "--important", package)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    package = found[1] if found else package
    directory.mkdir(parents=True, exist_ok=True)
    _run(find("apt-get"), "download", "-q", package, cwd=directory)
    (archive,) = directory.glob("linux-image-*.deb")
    _run(find("dpkg-deb"), "-x", archive, directory)
    archive.unlink()


class Guest:
    """
    A kernel, and initial RAM disks that differ in the script they run.

    Args:
        kernel: the directory that `fetch_kernel` filled.
        directory: for what is built; made if it is missing.
        programs: more of this machine's, beside `PROGRAMS`.

    Raises:
        Missing: there is no kernel, or a program is not installed.
    """

    def __init__(self, kernel: Path, directory: Path, programs: Iterable[str] = ()) -> None:
        kernels = sorted(kernel.glob("boot/vmlinuz-*"))
        if not kernels:
            raise Missing(f"no kernel in {kernel}/boot")
        self.kernel = kernels[-1].absolute()
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._busybox = find("busybox")
        version = self.kernel.name.removeprefix("vmlinuz-")
        tree = directory / "tree"
        if tree.exists():
            shutil.rmtree(tree)
        self._lay_out(tree, [*PROGRAMS, *programs])
        self._copy_modules(kernel / "lib" / "modules" / version, tree / "lib" / "modules" / version)
        self._base = self._archive(tree)

    def initrd(self, script: str, name: str = "initrd") -> Path:
        """
        An initial RAM disk whose guest runs a script as root, and is then switched off.

        Args:
            script: for ``sh -eu``. Names in capitals that QEMU's ``-append`` sets are variables.
            name: of the file.
        """
        made = self._directory / f"{name}.script"
        made.mkdir(exist_ok=True)
        (made / "script").write_text(script)
        path = self._directory / name
        path.write_bytes(self._base + self._archive(made))  # the kernel unpacks both
        return path.absolute()

    def _lay_out(self, tree: Path, programs: Sequence[str]) -> None:
        for place in ("bin", "sbin", "etc", "lib"):
            (tree / place).mkdir(parents=True)
        shutil.copy(self._busybox, tree / "bin" / "busybox")
        (tree / "bin" / "sh").symlink_to("busybox")
        _copy_executable(HERE / "init", tree / "init")
        _copy_executable(HERE / "sbin-init", tree / "sbin" / "init")
        for program in programs:
            source = find(program)
            shutil.copy(source, tree / "sbin" / program)
            for library in libraries(source):
                target = tree / str(library).lstrip("/")
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(library, target)

    def _copy_modules(self, source: Path, target: Path) -> None:
        if not source.is_dir():
            raise Missing(f"no modules in {source}")
        paths = {path.stem: path for path in (source / "kernel").rglob("*.ko*")}
        wanted = list(MODULES)
        for name in wanted:
            path = paths.get(name)
            if path is None:
                continue  # built into the kernel
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            wanted += [other for other in _depends(copy) if other not in wanted]
        _run(self._busybox, "depmod", "-b", target.parents[2], target.name)

    def _archive(self, tree: Path) -> bytes:
        names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
        done = subprocess.run(
            [self._busybox, "cpio", "-o", "-H", "newc", "-R", "0:0"],
            cwd=tree,
            input="\n".join(names).encode(),
            capture_output=True,
            check=True,
        )
        return done.stdout


def libraries(program: Path) -> list[Path]:
    """What a program is linked with, its loader among them; nothing if it is static."""
    done = subprocess.run([find("ldd"), program], capture_output=True, text=True, check=False)
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)]


def _depends(module: Path) -> list[str]:
    """The modules that a module names in its own text."""
    found = re.search(rb"\0depends=([\w,]*)\0", module.read_bytes())
    return found[1].decode().split(",") if found and found[1] else []


def _copy_executable(source: Path, target: Path) -> None:
    shutil.copy(source, target)
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _run(program: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Missing(f"{program.name} {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout
