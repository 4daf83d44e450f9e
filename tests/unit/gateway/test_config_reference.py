"""The reference page of the configuration file."""

from __future__ import annotations

from pathlib import Path

from gateway.config_reference import page

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_the_committed_page_is_what_the_code_says() -> None:
    """``python -m gateway.config_reference > docs/reference/configuration.md`` was run."""
    assert _PAGE.read_text() == page()
