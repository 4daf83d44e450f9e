"""The reference page of the configuration file, from the classes that read it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import attrs

from gateway.addresses import Address
from gateway.config import ExportSettings, GatewaySettings, ListenSettings
from gateway.providers import BUILT_IN, Providers
from gateway.settings import size

_INTRODUCTION = """\
<!-- Made by `python -m gateway.config_reference`; not to be changed by hand. -->

# The configuration file

`twistd nbdgateway --config FILE` reads an INI file in UTF-8. The whole file is
checked before anything is started, and every mistake is reported at once, with
its line; `--check` does only that. Sections and keys that are not on this page
are mistakes.

- `key = value`, one per line; an indented line continues the value above it.
- Comments start with `#` or `;` at the beginning of a line, or with `;` after
  white space.
- `%` and `$` have no special meaning.
- Relative paths start at the directory of the file; `~` is a home directory.
- Sizes take `K`, `M`, `G`, `T`, also as `KiB` and so on: powers of 1024.
- Durations are seconds, with decimals if need be.
- Lists are separated by commas.
"""

_EXPORTS = """\
The name, up to 4096 bytes, is what clients ask for. Names of more than 256
bytes are legal and not accepted by all clients. Two exports never share one
store. The keys of the provider come in the same section.
"""


def page() -> str:
    """The page in Markdown."""
    parts = [
        _INTRODUCTION,
        "## `[gateway]`\n",
        _table(GatewaySettings),
        "## `[listen:NAME]`\n",
        "One section per listener; the name is free.\n",
        _table(ListenSettings),
        "## `[export:NAME]`\n",
        _EXPORTS,
        _table(ExportSettings),
    ]
    providers = Providers(plugins=())
    for name in sorted(BUILT_IN):
        parts += [f"### `provider = {name}`\n", _table(providers.get(name).settings)]
    return "\n".join(parts)


def _table(settings_class: type) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    rows += [f"| {' | '.join(row)} |" for row in _rows(settings_class)]
    return "\n".join(rows) + "\n"


def _rows(settings_class: Any) -> Iterator[tuple[str, str, str, str]]:
    for field in attrs.fields(settings_class):
        convert = field.metadata["convert"]
        value = " ".join((convert.__doc__ or "").strip().split("\n\n")[0].split())
        yield (
            f"`{field.name}`",
            _cell(value),
            _default(field),
            _cell(field.metadata["doc"]),
        )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: attrs.Attribute[Any]) -> str:
    if field.metadata["named"]:
        return "the name"
    if field.default is attrs.NOTHING:
        return "required"
    value = default_text(field)
    return f"`{value}`" if value else ""


def default_text(field: attrs.Attribute[Any]) -> str:
    """A key's default as it would stand in a file; empty if there is none to write down."""
    return "" if field.default is attrs.NOTHING else written(field, field.default)


def written(field: attrs.Attribute[Any], value: Any) -> str:
    """A key's value as it would stand in a file; empty if it has none."""
    if value is None or value in ("", frozenset(), ()) or isinstance(value, Address):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if field.metadata["convert"] is size:
        return _size(value)
    if isinstance(value, frozenset | tuple):
        return ", ".join(sorted(map(str, value)))
    return str(value)


def _size(value: int) -> str:
    """Bytes as an operator would write them."""
    for unit in ("", "K", "M", "G"):
        if value % 1024 or not value:
            return f"{value}{unit}"
        value //= 1024
    return f"{value}T"


if __name__ == "__main__":
    sys.stdout.write(page())
