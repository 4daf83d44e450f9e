"""A volume fails once, for one reason, and everybody hears of it."""

from __future__ import annotations

import pytest

from backends.volume.condition import Condition
from gateway.errors import Closed, Fenced


def test_well_until_it_fails():
    condition = Condition()
    condition.check()
    heard = []
    condition.watch(heard.append)
    condition.fail(Fenced("taken"))
    condition.fail(Closed("closed"))
    assert [type(one) for one in heard] == [Fenced]
    with pytest.raises(Fenced, match="taken"):
        condition.check()


def test_errors_are_copies():
    condition = Condition()
    condition.fail(Fenced("taken"))
    first, second = condition.error(), condition.error()
    assert first is not second and first is not condition.failure and str(first) == "taken"
