"""
S3 on port 5000, as a process: moto, which does one thing at a time. Arguments are buckets.

moto looks whether a name is taken and takes it in two steps; asked by several at once, it now
and then gives one name to two of them, and the gateway rightly calls such a store unsafe.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    """Serve until the process ends."""
    for name in sys.argv[1:]:
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(name, "us-east-1")
    moto = create_backend_app("s3")
    alone = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        with alone:
            return list(moto(environ, respond))

    # Threads, since a client that keeps its connection would keep everybody else out.
    make_server("127.0.0.1", 5000, one_at_a_time, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
