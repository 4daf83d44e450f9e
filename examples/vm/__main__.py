"""``python -m examples.vm``: boots a small Linux whose disk is a volume, then a clone of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.vm.gateway import Gateway, GatewayFailed
from examples.vm.guest import KERNEL_PACKAGE, Guest, Missing, fetch_kernel
from examples.vm.machine import PATIENCE, Failed
from examples.vm.stores import keys_of
from examples.vm.story import Story

DESCRIPTION = """\
Makes a small Linux from Debian's packages, installs it onto a volume that the gateway serves,
boots it from there, takes a snapshot, clones it, and boots the clone.

Needs Debian or a relative of it with qemu-system-x86, qemu-utils, busybox-static, e2fsprogs and
util-linux. The kernel is fetched by apt-get and unpacked, not installed. Nobody has to be root.
"""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.vm",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("vm-example"), help="for everything; kept"
    )
    parser.add_argument(
        "--store",
        default="directory",
        help="directory; moto: an S3 server on this machine; or s3://BUCKET, with credentials "
        "where every AWS client looks",
    )
    parser.add_argument("--endpoint-url", help="of an S3 that is not Amazon's")
    parser.add_argument("--region", default="us-east-1", help="of the bucket")
    parser.add_argument("--name", default="vm1", help="of the volume; the clone is NAME-clone")
    parser.add_argument("--size", default="512M", help="of the disk")
    parser.add_argument("--kernel", type=Path, help="where it is, or goes; else in --directory")
    parser.add_argument("--kernel-package", default=KERNEL_PACKAGE, help="that has it")
    parser.add_argument("--fetch-only", action="store_true", help="fetch the kernel, no more")
    parser.add_argument(
        "--timeout", type=float, default=PATIENCE, help="seconds for each boot", metavar="SECONDS"
    )
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Run it; 0 if all went well, 1 and a reason on standard error if not."""
    options = arguments(given)
    directory: Path = options.directory
    kernel: Path = options.kernel or directory / "kernel"
    try:
        fetch_kernel(kernel, options.kernel_package)
        if options.fetch_only:
            return 0
        directory.mkdir(parents=True, exist_ok=True)
        guest = Guest(kernel, directory / "guest")
        place = options.store, options.name, directory, options.endpoint_url, options.region
        with keys_of(*place) as keys:
            gateway = Gateway(directory, keys, options.size)
            Story(directory, gateway, guest, _say, options.timeout, options.name).run()
    except (Missing, Failed, GatewayFailed) as failure:
        sys.stderr.write(f"examples.vm: {failure}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
