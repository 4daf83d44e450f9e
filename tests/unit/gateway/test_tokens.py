"""Tokens in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.tokens import token_in

TOKEN = "0123456789abcdef"


def write(path: Path, content: str, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_white_space_around_it_does_not_count(tmp_path: Path) -> None:
    """Editors end files with a newline."""
    assert token_in(write(tmp_path / "token", f" {TOKEN}\n")) == TOKEN.encode()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """A group as well: a token lets in whoever has read it."""
    with pytest.raises(ValueError, match=f"got mode {mode:04o}, expected 0600"):
        token_in(write(tmp_path / "token", TOKEN, mode))


@pytest.mark.parametrize("content", ["", "short", f"{TOKEN} {TOKEN}", f"{TOKEN}\u00e4", "a" * 5000])
def test_what_is_no_token_is_not_repeated(tmp_path: Path, content: str) -> None:
    """It may be another secret."""
    with pytest.raises(ValueError, match="expected one token of at least 16") as caught:
        token_in(write(tmp_path / "token", content))
    assert not content or content not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=r"no-token: cannot be read: No such file"):
        token_in(str(tmp_path / "no-token"))
