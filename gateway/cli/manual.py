"""The manual page nbdgateway(1), from the command line's own words."""

from __future__ import annotations

import os
import re
import sys

from argparse_manpage.manpage import Manpage

from gateway.cli.arguments import build

#: A fixed day: the page changes when the commands do.
_DATE = "2026-11-27"


def page() -> str:
    """The page in troff."""
    os.environ["COLUMNS"] = "80"  # argparse breaks lines by it
    parser = build()
    made = Manpage(
        parser,
        format="single-commands-section",
        _data={
            "project_name": "nbdgateway",
            "prog": "nbdgateway",
            "manual_title": "nbdgateway",
            "manual_section": 1,
            "date": _DATE,
            "description": "looks after volumes that NBD gateways serve",
        },
    )
    text = f"{made}\n.SH SEE ALSO\n.BR nbdgateway.ini (5)\n"
    # A line that begins with a dot is a request to troff.
    return re.sub(r"(?m)^\.(?=[/.])", r"\\&.", text)


if __name__ == "__main__":
    sys.stdout.write(page())
