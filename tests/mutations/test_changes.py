"""The ways to break a volume are ways to break the volume that there is now."""

from __future__ import annotations

import pytest

from tests.mutations.changes import MUTATIONS
from tests.service.twistd import ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_changes_stands_there_once(mutation):
    """Whether a test notices it takes `python -m tests.mutations.run`, and minutes."""
    assert (ROOT / mutation.path).read_text().count(mutation.old) == 1
