"""Storage providers by name: the ones we ship, and those that others ship as Twisted plugins."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

import twisted.plugins
from twisted.logger import Logger
from twisted.plugin import getPlugins

from gateway.interfaces import IStorageProvider
from gateway.settings import BadValue, did_you_mean

#: Short name to the class that is imported when the name is used.
BUILT_IN = {
    "memory": "backends.memory.MemoryProvider",
    "file": "backends.file.provider.FileProvider",
    "directory": "backends.volume.directory_provider.DirectoryProvider",
    "s3": "backends.volume.s3_provider.S3Provider",
}

_log = Logger()


class Providers:
    """Finds storage providers; each name is looked up once."""

    def __init__(
        self,
        built_in: dict[str, str] = BUILT_IN,
        plugins: Iterable[Any] | None = None,
        broken: Iterable[str] | None = None,
    ) -> None:
        """
        Args:
            built_in: name to dotted path of a class.
            plugins: objects that provide `IStorageProvider`; by default those
                in ``twisted.plugins``.
            broken: messages about plugins that do not load; by default found
                by importing them.
        """
        self._built_in = built_in
        self._plugins = plugins
        self._broken = broken
        self._found: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """
        The `IStorageProvider` called ``name``.

        Raises:
            BadValue: there is none, or it does not load.
        """
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def names(self) -> list[str]:
        """Every name that ``provider =`` may say."""
        return sorted({*self._built_in, *(plugin.name for plugin in self._usable_plugins())})

    def _find(self, name: str) -> Any:
        plugins = [plugin for plugin in self._usable_plugins() if plugin.name == name]
        if name in self._built_in:
            for plugin in plugins:
                _log.warn(
                    "storage provider {plugin} is ignored: {name} is the name of a built-in one",
                    plugin=repr(plugin),
                    name=name,
                )
            return self._import(name)
        if not plugins:
            broken = list(_broken_plugins() if self._broken is None else self._broken)
            hint = did_you_mean(name, self.names())
            raise BadValue("; ".join([f"the name of a storage provider{hint}", *broken]))
        for plugin in plugins[1:]:
            _log.warn(
                "storage provider {plugin} is ignored: {used} has the same name {name}",
                plugin=repr(plugin),
                used=repr(plugins[0]),
                name=name,
            )
        return plugins[0]

    def _import(self, name: str) -> Any:
        module, _, attribute = self._built_in[name].rpartition(".")
        try:
            return getattr(importlib.import_module(module), attribute)()
        except ImportError as error:
            raise BadValue(
                f"a provider that loads; {name} needs what is not installed: {error}"
            ) from error

    def _usable_plugins(self) -> Iterator[Any]:
        plugins = getPlugins(IStorageProvider) if self._plugins is None else self._plugins
        for plugin in plugins:
            if isinstance(getattr(plugin, "name", None), str):
                yield plugin
            else:
                _log.error(
                    "storage provider {plugin} is ignored: it has no name", plugin=repr(plugin)
                )


def _broken_plugins() -> Iterator[str]:
    """
    Modules in ``twisted.plugins`` that do not import. Twisted leaves them out
    without a word to the operator, who then looks for a typing mistake.
    """
    for module in pkgutil.iter_modules(twisted.plugins.__path__):
        try:
            importlib.import_module(f"twisted.plugins.{module.name}")
        except Exception as error:  # whatever a stranger's module does
            yield f"the plugin twisted.plugins.{module.name} does not load: {error}"
