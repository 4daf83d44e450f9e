"""
Run the emulator in the foreground; the first line of its output is the URL.

    python -m benchmarks.s3_emulator [--profile near] [--port 0] [--bucket disks]
"""

from __future__ import annotations

import argparse
import asyncio
import gc

from benchmarks.s3_emulator.conditions import PROFILES
from benchmarks.s3_emulator.service import Emulator


async def serve(given: argparse.Namespace) -> None:
    """Until it is interrupted."""
    emulator = Emulator(*given.bucket, conditions=PROFILES[given.profile], seed=given.seed)
    server = await emulator.listen(given.host, given.port)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    # Objects are many and never garbage in circles; collecting them would show as latency.
    gc.freeze()
    gc.disable()
    async with server:
        await server.serve_forever()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.s3_emulator", description=Emulator.__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--bucket", action="append", default=[], help="one that exists at first")
    parser.add_argument("--profile", choices=PROFILES, default="near")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
