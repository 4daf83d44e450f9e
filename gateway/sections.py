"""The sections of a configuration, read into settings; mistakes are collected with their places."""

from __future__ import annotations

from typing import TypeVar

from gateway import ini
from gateway.settings import read

S = TypeVar("S")


class Sections:
    """
    One document, and what is found wrong with it.

    Attributes:
        problems: so far, one line for people each.
    """

    def __init__(self, document: ini.Document, problems: list[str]) -> None:
        self.document = document
        self.problems = list(problems)

    def say(self, section: str, key: str, problem: str) -> None:
        """Add a problem; an empty key stands for the section's header."""
        self.problems.append(f"{self.document.where(section, key)}: {problem}")

    def read(
        self,
        settings_class: type[S],
        section: str,
        values: dict[str, str] | None = None,
        name: str | None = None,
    ) -> S | None:
        """
        The settings in a section; None if there are mistakes in it.

        Args:
            values: instead of all keys of the section.
            name: the section's, for keys that have it as their default.
        """
        if values is None:
            values = self.document.sections[section]
        settings, problems = read(
            settings_class,
            values,
            self.document.base,
            lambda key: self.document.where(section, key),
            name,
        )
        self.problems += problems
        return settings

    def called(self, kind: str, name: str) -> str:
        """The section's text as written in the file: there may be spaces in it."""
        for section in self.document.sections:
            head, _, tail = section.partition(":")
            if (head.strip(), tail.strip()) == (kind, name):
                return section
        return f"{kind}:{name}"
