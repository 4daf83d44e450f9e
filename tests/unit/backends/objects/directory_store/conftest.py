"""A directory store in a directory of the test."""

from __future__ import annotations

import pytest

from backends.objects.directory import DirectoryStore


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "store"
    made.mkdir()
    return made


@pytest.fixture
def store(root):
    return DirectoryStore(str(root))
