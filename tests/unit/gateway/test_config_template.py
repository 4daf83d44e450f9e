"""The configuration that an operator is given to start from."""

from __future__ import annotations

import re

import attrs

from gateway import config_template, validation
from gateway.config import ExportSettings, GatewaySettings, ListenSettings
from gateway.providers import BUILT_IN, Providers

TEXT = config_template.text()


def test_it_is_right_as_it_is(tmp_path):
    """What is set in it can be served at once."""
    path = tmp_path / "gw.ini"
    path.write_text(TEXT)
    configuration = validation.load(str(path))
    assert [export.name for export in configuration.exports] == ["disk0", "vm1"]
    assert [one.name for one in configuration.listeners] == ["local", "loopback"]
    assert configuration.default_export == "disk0"


def test_every_key_stands_in_it():
    """Of every section and of every provider that we ship."""
    keys = {match[1] for match in re.finditer(r"(?m)^(?:; )?([a-z0-9_]+) =", TEXT)}
    providers = Providers(plugins=())
    classes = [GatewaySettings, ListenSettings, ExportSettings]
    classes += [providers.get(name).settings for name in BUILT_IN]
    known = {field.name for one in classes for field in attrs.fields(one)}
    assert keys == known


def test_the_defaults_that_it_shows_are_accepted(tmp_path):
    """Taking the mark away from a key with a value changes nothing."""
    shown = re.sub(r"(?m)^; ([a-z0-9_]+ = .+)$", r"\1", TEXT.partition("; [listen:network]")[0])
    rest = TEXT[TEXT.index("[export:disk0]") : TEXT.index("; [export:vm2]")]
    rest = re.sub(r"(?m)^; ([a-z0-9_]+ = .+)$", r"\1", rest)
    for name, text in (("plain.ini", TEXT), ("shown.ini", shown + rest)):
        (tmp_path / name).write_text(text)
    plain, all_shown = (
        validation.load(str(tmp_path / name)) for name in ("plain.ini", "shown.ini")
    )
    assert [one.settings for one in plain.exports] == [one.settings for one in all_shown.exports]
    assert plain.shutdown_timeout == all_shown.shutdown_timeout


def test_what_is_suggested_has_the_keys_that_it_needs(tmp_path):
    """The sections that are comments as a whole."""
    for section, values in config_template._SUGGESTED.items():
        if section.startswith("export:"):
            lines = [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
            path = tmp_path / "one.ini"
            path.write_text("[listen:a]\nendpoint = unix:nbd.sock\n" + "\n".join(lines))
            assert validation.load(str(path)).exports
