"""
All benchmarks, one after the other; what they print is kept in files.

    python -m benchmarks [--quick] [PART ...]

Parts are measured in the order of the list below, each in a process of its own; without one
named, all are. What a part prints goes to PART.md in --results, figures to PART.json where
there are any. A part whose programs are missing fails alone. --quick shows that all of it
works, within some minutes; its times say nothing. For times that do, leave the machine alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import attrs

RESULTS = Path(__file__).with_name("results")


@attrs.frozen
class Part:
    """
    One program.

    Attributes:
        what: it measures.
        module: below `benchmarks`.
        quick: arguments with ``--quick``.
        full: arguments without.
        files: options that name a file to write, and its ending.
    """

    what: str
    module: str
    quick: tuple[str, ...] = ("--quick",)
    full: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


PARTS = {
    "peers": Part(
        "volumes beside s3backer and nbdkit's S3 plugin", "peers", files=(("--json", "json"),)
    ),
    "sizes": Part(
        "attaching, memory and zeroing against the volume's size",
        "volume_sizes",
        files=(("--json", "json"), ("--plot", "svg")),
    ),
    "figures": Part("requests and bytes of volumes, in virtual time", "volume_figures"),
    "volume-path": Part("what a volume costs a request", "volume_path", ("--seconds", "0.05")),
    "extent-map": Part("what a volume's maps cost", "extent_map", ("--writes", "2000")),
    "servers": Part(
        "NBD servers on a local image",
        "data_path",
        ("--quick", "--rounds", "1", "--seconds", "0.1", "--size", "16", "--transport", "unix"),
    ),
    "cover-letter": Part("the experiment that proposed FAST_ZERO", "cover_letter"),
}


def command(part: Part, name: str, quick: bool, results: Path) -> list[str]:
    """The part as a command."""
    found = [sys.executable, "-m", f"benchmarks.{part.module}"]
    found += part.quick if quick else part.full
    for option, ending in part.files:
        found += [option, str(results / f"{name}.{ending}")]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; 1 if one failed."""
    assert __doc__ is not None
    listed = "\n".join(f"  {name:13} {part.what}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"parts:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="*", metavar="PART", help="one of the list below")
    parser.add_argument("--quick", action="store_true", help="show that it works")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory (%(default)s)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.part if name not in PARTS]
    if unknown:
        parser.error(f"got {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    given.results.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in given.part or PARTS:
        begun = time.monotonic()
        output = given.results / f"{name}.md"
        done = subprocess.run(
            command(PARTS[name], name, given.quick, given.results),
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        took = time.monotonic() - begun
        if done.returncode:
            failed.append(name)
            print(f"{name}: failed with {done.returncode} after {took:.0f} s", flush=True)
            continue
        output.write_text(done.stdout)
        print(f"{name}: {took:.0f} s, {output}\n\n{done.stdout}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
