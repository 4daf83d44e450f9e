"""
The objects below a directory, in the order of their keys.

That order is not the one of a tree walk by names: ``a-b/x`` sorts before
``a/x``, though ``a`` sorts before ``a-b``. What lies below a directory starts
with its name and a slash, so entries are sorted with that slash. UTF-8 sorts
like the code points that it stands for: keys stay bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Set

from backends.objects.contract import Listed
from backends.objects.keys import LONGEST


def walk(root: bytes, prefix: bytes, after: bytes, hidden: Set[bytes]) -> Iterator[Listed]:
    """
    The regular files whose keys start with ``prefix`` and sort behind ``after``.

    Reads only directories that may hold some. Symbolic links, devices and
    names that are too long or no UTF-8 are nobody's objects and are passed
    over, and so is what disappears on the way.

    Args:
        hidden: entries of ``root`` that hold no objects.

    Raises:
        OSError: a directory cannot be read, or ``root`` is missing.
    """
    directory, base = root, b""
    os.stat(root)
    for segment in prefix.split(b"/")[:-1]:
        directory = os.path.join(directory, segment)
        base += segment + b"/"
        if segment in (b"", b".", b"..") or b"\0" in segment or not _is_directory(directory):
            return iter(())
    if base.split(b"/", 1)[0] in hidden:
        return iter(())
    return _walk(directory, base, prefix, after, hidden)


def _is_directory(path: bytes) -> bool:
    """Itself, not by way of a symbolic link."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _walk(
    directory: bytes, base: bytes, prefix: bytes, after: bytes, hidden: Set[bytes]
) -> Iterator[Listed]:
    """
    Args:
        base: what keys below ``directory`` start with; empty, or ends in a slash.
    """
    for name, entry in _entries(directory, base, prefix, after):
        if not base and entry.name in hidden:
            continue
        key = base + name
        if name.endswith(b"/"):
            yield from _walk(entry.path, key, prefix, after, hidden)
            continue
        try:
            status = entry.stat(follow_symlinks=False)
            yield Listed(key.decode(), status.st_size, status.st_mtime)
        except (FileNotFoundError, UnicodeDecodeError):
            continue


def _entries(
    directory: bytes, base: bytes, prefix: bytes, after: bytes
) -> list[tuple[bytes, os.DirEntry[bytes]]]:
    """Files and directories that may matter, the latter with a slash, sorted."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                key = base + entry.name
                if len(key) > LONGEST:
                    continue
                if entry.is_file(follow_symlinks=False):
                    if key > after and key.startswith(prefix):
                        found.append((entry.name, entry))
                elif entry.is_dir(follow_symlinks=False):
                    key += b"/"
                    is_wanted = key.startswith(prefix) or prefix.startswith(key)
                    if is_wanted and (key > after or after.startswith(key)):
                        found.append((entry.name + b"/", entry))
    except (FileNotFoundError, NotADirectoryError):
        if not base:
            raise  # the root
    found.sort(key=lambda item: item[0])
    return found
