"""The manual page nbdgateway.ini(5), from the classes that read the file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from gateway.config_reference import FORM, Row, rows, sections

_HEAD = r"""
.TH NBDGATEWAY.INI 5 "2026\-11\-27" nbdgateway nbdgateway
.SH NAME
nbdgateway.ini \- what an NBD gateway serves, and how
.SH SYNOPSIS
.B twistd nbdgateway \-\-config
.I FILE
.SH DESCRIPTION
""".lstrip()

_FOOT = r"""
.SH FILES
.TP
.I /etc/nbdgateway/gw.ini
What the unit file and the container image that come with nbdgateway use.
.SH EXAMPLES
.B nbdgateway init
writes a file to start from, with every key and a comment on each.
.PP
.EX
[gateway]
state_dir = /var/lib/nbdgateway

[listen:local]
endpoint = unix:/run/nbdgateway/nbd.sock

[export:vm1]
provider = s3
bucket = disks
prefix = vm1
region = eu\-central\-1
size = 200G
.EE
.SH SEE ALSO
.BR nbdgateway (1)
""".lstrip()


def page() -> str:
    """The page in troff."""
    return "".join([_HEAD, _text(FORM), *_sections(), _FOOT])


def _sections() -> Iterator[str]:
    for section in sections():
        yield f'.{"SS" if section.inner else "SH"} "{_escaped(section.heading)}"\n'
        yield _text(section.text)
        for row in rows(section.keys):
            yield _key(row)


def _key(row: Row) -> str:
    """What it may be in the line of the key, then what it means."""
    value = row.value
    if row.default:
        value += f" Default: {row.default if row.special else f'`{row.default}`'}."
    value = value.replace("Default: required.", "Required.")
    return f".TP\n.B {_escaped(row.key)}\n{_inline(value)}\n.br\n{_inline(row.meaning)}\n"


def _text(markdown: str) -> str:
    """Paragraphs and lists."""
    made = []
    for paragraph in markdown.strip().split("\n\n"):
        if paragraph.startswith("- "):
            items = paragraph.removeprefix("- ").split("\n- ")
            made += [f".IP * 2\n{_inline(' '.join(item.split()))}\n" for item in items]
        elif paragraph:
            made.append(f".PP\n{_inline(' '.join(paragraph.split()))}\n")
    return "".join(made)


def _inline(markdown: str) -> str:
    """One paragraph; what is typed is bold."""
    parts = re.split(r"`+([^`]*)`+", markdown)
    parts[1::2] = [f"\\fB{_escaped(part)}\\fR" for part in parts[1::2]]
    parts[::2] = [_escaped(part) for part in parts[::2]]
    line = "".join(parts)
    # A line that begins with one of these is a request to troff.
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _escaped(text: str) -> str:
    for plain, troff in (
        ("\\", r"\e"),
        ("-", r"\-"),
        ("'", r"\(aq"),
        ("~", r"\(ti"),
        ('"', r"\(dq"),
    ):
        text = text.replace(plain, troff)
    return text


if __name__ == "__main__":
    sys.stdout.write(page())
