"""File systems and block devices made for a test, where root and mkfs can make them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest

MIB = 1024 * 1024


def run(*command):
    """Run a program; skip the test if it is missing or refuses."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def need_root():
    """Skip unless file systems can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")


@contextlib.contextmanager
def mounted(kind, place):
    """
    A fresh file system.

    Args:
        kind: ``xfs``, ``btrfs``, ``ext4``, ``tmpfs`` or ``ramfs``.
        place: an empty directory to work in.
    """
    need_root()
    directory = os.path.join(place, kind)
    os.makedirs(directory)
    if kind in ("tmpfs", "ramfs"):
        run("mount", "-t", kind, kind, directory)
    else:
        image = os.path.join(place, f"{kind}.img")
        with open(image, "wb") as file:
            file.truncate(400 * MIB)
        run(f"mkfs.{kind}", "-q", image)
        run("mount", "-o", "loop", image, directory)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=False, capture_output=True)


@contextlib.contextmanager
def loop_device(image):
    """A block device over a file; it can zero if the file system under it punches holes."""
    need_root()
    device = run("losetup", "--find", "--show", image)
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)
