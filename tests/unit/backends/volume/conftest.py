"""Fixtures for volumes."""

from __future__ import annotations

import pytest
from twisted.logger import Logger

from tests.doubles.machine import Machine


@pytest.fixture
def machine(tmp_path):
    """A machine with an empty disk."""
    made = Machine(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def said(monkeypatch):
    """What is logged as critical."""
    texts = []
    monkeypatch.setattr(Logger, "critical", lambda self, text, **why: texts.append(why["why"]))
    return texts
