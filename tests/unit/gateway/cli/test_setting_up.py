"""Commands that make files to start from: configurations, certificates, completion, manuals."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import config_manual, config_template, validation
from gateway.cli import manual
from gateway.cli.arguments import build
from gateway.cli.exits import Exit
from gateway.cli.main import main
from gateway.config_reference import rows, sections

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_writes_a_configuration_once(here, capsys):
    """A second time it is not overwritten without being told."""
    assert main(["init"]) == Exit.OK
    assert (here / "gw.ini").read_text() == config_template.text()
    (here / "gw.ini").write_text("mine")
    assert main(["init"]) == Exit.FAILED
    assert "there is one already; expected --force" in capsys.readouterr().err
    assert (here / "gw.ini").read_text() == "mine"
    assert main(["init", "--force"]) == Exit.OK
    assert (here / "gw.ini").read_text() == config_template.text()


def test_init_prints_one_where_that_is_asked_for(here, capsys):
    """For a pipe."""
    assert main(["init", "-"]) == Exit.OK
    assert capsys.readouterr().out == config_template.text()
    assert os.listdir() == []


def test_check_tells_all_mistakes_at_once(here, capsys):
    """With their lines, and the status of a wrong configuration."""
    (here / "gw.ini").write_text("[listen:a]\nendpont = unix:x\n[export:b]\nprovider = filed\n")
    assert main(["config", "check"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "gw.ini:2:" in said
    assert 'did you mean "endpoint"' in said
    assert 'did you mean "file"' in said


def test_show_is_a_configuration_that_means_the_same(here, capsys):
    """With every key in it that has a value."""
    main(["init", "one.ini"])
    capsys.readouterr()
    assert main(["config", "show", "one.ini"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    (here / "two.ini").write_text("\n".join(line for line in lines if not line.endswith(" =")))
    one, two = (validation.load(str(here / name)) for name in ("one.ini", "two.ini"))
    assert [(one.name, one.settings) for one in one.exports] == [
        (two.name, two.settings) for two in two.exports
    ]
    assert [one.address for one in one.listeners] == [two.address for two in two.listeners]


def test_show_names_files_with_secrets_and_not_what_is_in_them(here, capsys):
    """Whoever is shown a configuration is not shown its keys."""
    (here / "vm1.key").write_text("5ec2e7" * 10 + "abcd")
    os.chmod("vm1.key", 0o600)
    (here / "gw.ini").write_text(
        "[listen:a]\nendpoint = unix:x\n"
        "[export:vm1]\nprovider = directory\npath = o\nsize = 1G\nkey_file = vm1.key\n"
    )
    assert main(["config", "show"]) == Exit.OK
    said = capsys.readouterr().out
    assert f"key_file = {here}/vm1.key" in said
    assert "5ec2e7" not in said


def test_certificates_are_made_where_clients_look_for_them(here, capsys):
    """And what to do with them is said."""
    assert main(["tls", "init-ca"]) == Exit.OK
    assert main(["tls", "server", "gateway.example", "192.0.2.1"]) == Exit.OK
    assert f"tls_certificate = {here}/pki/server-cert.pem" in capsys.readouterr().out
    assert main(["tls", "client", "vm17"]) == Exit.OK
    assert f"tls-certificates={here}/pki/vm17" in capsys.readouterr().out
    assert main(["tls", "psk", "alice", "--json"]) == Exit.OK
    said = capsys.readouterr().out
    assert json.loads(said) == {"made": ["pki/keys.psk", "pki/alice/keys.psk"]}
    (key,) = (here / "pki" / "keys.psk").read_text().splitlines()
    assert key.partition(":")[2] not in said
    (here / "gw.ini").write_text(
        "[listen:a]\nendpoint = tcp:10809\ntls_certificate = pki/server-cert.pem\n"
        "tls_key = pki/server-key.pem\ntls_client_ca = pki/ca-cert.pem\n"
        "[export:b]\nprovider = memory\nsize = 1M\n"
    )
    assert main(["config", "check"]) == Exit.OK


def test_a_second_authority_is_refused(here, capsys):
    """What the first one signed would be worth nothing."""
    main(["tls", "init-ca"])
    assert main(["tls", "init-ca"]) == Exit.FAILED
    assert "there is one already" in capsys.readouterr().err


def test_a_shell_takes_the_completion(here, capsys):
    """bash, which everyone has, at least reads it."""
    assert main(["completion", "bash"]) == Exit.OK
    script = capsys.readouterr().out
    assert "import" in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help anew")
def test_the_page_of_commands_has_every_one_of_them_and_every_option():
    """Of those that have an address or an argument, with it; options by their long names."""
    page = (ROOT / "docs/reference/commands.md").read_text()
    told = {word.strip("[]") for code in re.findall(r"`([^`\n]+)`", page) for word in code.split()}
    for name, parser in _commands(build()):
        assert re.search(rf"`{name}[ `]", page), f"{name} is not on the page"
        for action in parser._actions:
            longest = max(action.option_strings, key=len, default="-")
            assert longest in told or longest == "-", f"{name} {longest} is not on the page"


def _commands(parser, name=""):
    """Names and parsers of all, also in groups."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield name.strip(), parser
    for group in groups:
        for word, inner in group.choices.items():
            yield from _commands(inner, f"{name} {word}")


MANUALS = [
    ("nbdgateway.1", manual.page, "nbdgateway import"),
    ("nbdgateway.ini.5", config_manual.page, "flush_deadline"),
]


@pytest.mark.parametrize(("name", "page", "_"), MANUALS)
def test_the_manual_pages_are_what_the_code_says(name, page, _):
    """
    ``python -m gateway.cli.manual > docs/man/nbdgateway.1`` was run, and
    ``python -m gateway.config_manual > docs/man/nbdgateway.ini.5``.
    """
    assert (ROOT / "docs" / "man" / name).read_text() == page()


@pytest.mark.parametrize(("name", "page", "has"), MANUALS)
def test_the_manual_pages_are_set_without_complaints(name, page, has):
    """By man itself."""
    if shutil.which("man") is None:
        assert not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"), "man is not installed"
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-l", "-"], input=page(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert has in done.stdout


def test_every_key_is_in_the_manual_of_the_configuration():
    """With what it may be and its default."""
    text = config_manual.page()
    for section in sections():
        for row in rows(section.keys):
            assert f"\n.B {row.key}\n" in text
    assert ".B max_connections\nA whole number of one or more. Default: \\fB1024\\fR.\n" in text
    assert ".B provider\nAny non\\-empty text. Required.\n" in text
