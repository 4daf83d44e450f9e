"""The configuration file as texts: sections, keys, and the line each one stands on."""

from __future__ import annotations

import configparser
import os

import attrs

from gateway.errors import ConfigurationError


@attrs.frozen
class Document:
    """
    A configuration before anything in it has a meaning.

    Attributes:
        name: what messages call it.
        base: the absolute directory at which relative paths start.
        sections: section to key to text, in the order of the file.
        lines: ``(section, key)`` to line number; the key of a header is empty.
    """

    name: str
    base: str
    sections: dict[str, dict[str, str]]
    lines: dict[tuple[str, str], int] = attrs.field(factory=dict)

    def where(self, section: str, key: str = "") -> str:
        """Names a place for a message, such as ``gw.ini:7: [export:a] size``."""
        line = self.lines.get((section, key)) or self.lines.get((section, ""))
        place = f"{self.name}:{line}" if line else self.name
        return f"{place}: [{section}] {key}".rstrip()


def load(path: str) -> tuple[Document, list[str]]:
    """
    Read a file.

    Returns:
        What could be read of it, and every mistake of form.

    Raises:
        ConfigurationError: the file cannot be read at all.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{path}:{line}: got bytes that are not UTF-8"]) from error
    return parse(text, path, os.path.dirname(os.path.abspath(path)))


def parse(text: str, name: str, base: str) -> tuple[Document, list[str]]:
    """The same for a text that is at hand; see `load`."""
    # configparser takes "\n" only for line ends when it is given lines, so
    # that line numbers here and there agree.
    lines = text.replace("\r\n", "\n").split("\n")
    parser, problems = _parse_what_parses(lines, name)
    document = Document(
        name, base, {section: dict(parser[section]) for section in parser.sections()}
    )
    return document, problems + _note_lines(lines, document)


def _parse_what_parses(lines: list[str], name: str) -> tuple[configparser.ConfigParser, list[str]]:
    """Blank every line that configparser refuses, until it refuses none."""
    problems = []
    while True:
        parser = configparser.ConfigParser(
            interpolation=None,
            delimiters=("=",),
            comment_prefixes=("#", ";"),
            inline_comment_prefixes=(";",),
            empty_lines_in_values=False,
            # Duplicates are reported by `_note_lines`, all of them.
            strict=False,
            # No header can be empty, so that there is no section of defaults.
            default_section="",
        )
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        try:
            parser.read_file([line + "\n" for line in lines], name)
        except configparser.ParsingError as error:
            # Python 3.11 reports a line before the first section by itself.
            numbers = [number for number, _ in getattr(error, "errors", ())]
            if isinstance(error, configparser.MissingSectionHeaderError) and not numbers:
                numbers = [error.lineno]
            for number in numbers:
                problems.append(
                    f'{name}:{number}: got "{lines[number - 1].strip()}", '
                    "expected [section] or key = value"
                )
                lines[number - 1] = ""
        else:
            return parser, problems


def _note_lines(lines: list[str], document: Document) -> list[str]:
    """Fill in ``document.lines``, by configparser's own rules; returns the duplicates."""
    problems = []
    section: str | None = None
    key_indent: int | None = None
    for number, line in enumerate(lines, 1):
        content = _without_comment(line)
        if not content.strip():
            key_indent = None
            continue
        indent = len(content) - len(content.lstrip())
        if key_indent is not None and indent > key_indent:
            continue  # the value above goes on
        content = content.strip()
        if content.startswith("[") and "]" in content:
            section, key, key_indent = content[1 : content.rindex("]")], "", None
        elif section is not None:
            key, key_indent = content.split("=", 1)[0].strip(), indent
        else:
            continue
        first = document.lines.setdefault((section, key), number)
        if first != number:
            what = f"[{section}] {key}".rstrip()
            problems.append(f"{document.name}:{number}: {what} is here twice, see line {first}")
    return problems


def _without_comment(line: str) -> str:
    if line.lstrip().startswith(("#", ";")):
        return ""
    for position, character in enumerate(line):
        if character == ";" and line[position - 1].isspace():
            return line[:position]
    return line
