"""
S3 on port 5000, as a process: moto, asked one thing at a time.

moto looks whether a name is taken and takes it in two steps; asked by several at once, it now
and then gives one name to two of them, and the gateway rightly calls such a store unsafe.
"""

from __future__ import annotations

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

if __name__ == "__main__":
    make_server("127.0.0.1", 5000, DomainDispatcherApplication(create_backend_app)).serve_forever()
