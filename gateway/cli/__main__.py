"""``python -m gateway.cli``: the same where the command is not installed."""

from __future__ import annotations

import sys

from gateway.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
