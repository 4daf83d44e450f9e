"""Bearer tokens in files."""

from __future__ import annotations

import os
import re
import stat

#: Characters; a token with fewer can be guessed.
SHORTEST = 16

#: Bytes that are read; a longer file holds something else.
_LONGEST = 4096

#: What RFC 6750 calls b64token.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def token_in(path: str) -> bytes:
    """
    The token in a file, without white space around it. Blocks.

    Raises:
        ValueError: there is none, or others may read it; the text has nothing of it.
    """
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_LONGEST + 1).strip()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ValueError(f"{path}: got mode {mode:04o}, expected 0600: for its owner only")
    if not SHORTEST <= len(content) <= _LONGEST or not _TOKEN.fullmatch(content):
        raise ValueError(
            f"{path}: expected one token of at least {SHORTEST} letters, digits and -._~+/ ,"
            " such as openssl rand -hex 32 makes"
        )
    return content
