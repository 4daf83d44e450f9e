"""Fixtures for volumes that are opened from settings."""

from __future__ import annotations

import pytest

from tests.doubles.machine import Machine


@pytest.fixture
def machine(tmp_path):
    """A machine with an empty disk."""
    made = Machine(tmp_path)
    yield made
    made.stop()
