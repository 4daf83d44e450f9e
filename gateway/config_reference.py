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

_HEAD = """\
<!-- Made by `python -m gateway.config_reference`; not to be changed by hand. -->

# The configuration file
"""

#: What holds for the whole file; paragraphs and a list in Markdown.
FORM = """\
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


@attrs.frozen
class Section:
    """
    A part of the file.

    Attributes:
        heading: ``[gateway]``, or what makes a provider's keys count.
        text: about it; may be empty.
        keys: the class that reads it.
        inner: it is a part of the section above.
    """

    heading: str
    text: str
    keys: type
    inner: bool = False


def sections() -> Iterator[Section]:
    """All parts of the file, those of the built-in providers behind the exports."""
    yield Section("[gateway]", "", GatewaySettings)
    yield Section("[listen:NAME]", "One section per listener; the name is free.\n", ListenSettings)
    yield Section("[export:NAME]", _EXPORTS, ExportSettings)
    providers = Providers(plugins=())
    for name in sorted(BUILT_IN):
        yield Section(f"provider = {name}", "", providers.get(name).settings, inner=True)


def page() -> str:
    """The page in Markdown."""
    parts = [_HEAD, FORM]
    for section in sections():
        parts.append(f"{'###' if section.inner else '##'} `{section.heading}`\n")
        parts += [section.text] if section.text else []
        parts.append(_table(section.keys))
    return "\n".join(parts)


def _table(settings_class: type) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for row in rows(settings_class):
        default = f"`{row.default}`" if row.default and not row.special else row.default
        cells = (f"`{row.key}`", _cell(row.value), default, _cell(row.meaning))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@attrs.frozen
class Row:
    """
    A key.

    Attributes:
        value: what it may be.
        default: as it would stand in the file, or if ``special`` a word about it.
        meaning: may mark what is typed by grave accents.
    """

    key: str
    value: str
    default: str
    special: bool
    meaning: str


def rows(settings_class: Any) -> Iterator[Row]:
    """The keys that a class reads."""
    for field in attrs.fields(settings_class):
        convert = field.metadata["convert"]
        value = " ".join((convert.__doc__ or "").strip().split("\n\n")[0].split())
        default, special = default_text(field), False
        if field.metadata["named"]:
            default, special = "the name", True
        elif field.default is attrs.NOTHING:
            default, special = "required", True
        yield Row(field.name, value, default, special, field.metadata["doc"])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


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
