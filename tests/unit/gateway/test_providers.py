"""Looking up storage providers."""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from gateway.interfaces import IStorageProvider
from gateway.providers import BUILT_IN, Providers
from gateway.settings import BadValue
from tests.unit.gateway.fakes import FakeProvider


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_provider_loads(name: str) -> None:
    """The table names classes that exist and keep the law."""
    provider = Providers(plugins=()).get(name)
    assert provider.name == name
    assert verifyObject(IStorageProvider, provider)


def test_a_plugin_is_found_by_its_name() -> None:
    """Third parties are first class."""
    plugin = FakeProvider("theirs")
    providers = Providers(plugins=[FakeProvider("other"), plugin])
    assert providers.get("theirs") is plugin
    assert {"theirs", "other", "file"} <= set(providers.names())


def test_an_unknown_name_is_answered_with_the_nearest_known() -> None:
    """Typing mistakes are the usual reason."""
    with pytest.raises(BadValue, match='did you mean "memory"'):
        Providers(plugins=(), broken=()).get("memoryy")


def test_a_plugin_that_does_not_load_is_named_when_a_provider_is_missing() -> None:
    """Twisted drops broken plugins in silence; the operator must not have to guess."""
    with pytest.raises(BadValue, match="their_plugin does not load: no module"):
        Providers(plugins=(), broken=["their_plugin does not load: no module"]).get("theirs")


def test_a_built_in_name_wins_over_a_plugin() -> None:
    """Installing something cannot change what ``provider = memory`` means."""
    assert not isinstance(Providers(plugins=[FakeProvider("memory")]).get("memory"), FakeProvider)


def test_a_built_in_provider_whose_needs_are_missing_says_so() -> None:
    """Optional dependencies are not tracebacks."""
    with pytest.raises(BadValue, match="not installed: No module named 'nowhere_to_be_found'"):
        Providers({"x": "nowhere_to_be_found.Provider"}, plugins=()).get("x")


def test_plugins_without_a_name_are_passed_over() -> None:
    """One bad plugin leaves the rest alone."""
    nameless: Any = object()
    plugin = FakeProvider("theirs")
    assert Providers(plugins=[nameless, plugin]).get("theirs") is plugin
