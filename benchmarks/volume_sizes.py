"""
What does not depend on the size of a volume: attaching, memory, zeroing; as figures and plots.

    python -m benchmarks.volume_sizes [--quick] [--json FILE] [--plot FILE.svg]

Volumes of 1 GiB to 10 TiB with the same 64 MiB in 64 places, in an emulated store nearby, by
a gateway process: seconds from its start until the disk is served (after a clean end, and
after a kill with 20 flushes since the last checkpoint), its memory then, and the seconds of
one WRITE_ZEROES of 1 GiB over data. A gateway with an empty disk in memory is measured along:
that is what Python and Twisted take. --plot needs matplotlib (`pip install nbdgateway[bench]`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.peers.bench import Bench, Measured
from benchmarks.peers.disks import Gateway

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40

SIZES = [GIB, 8 * GIB, 64 * GIB, 256 * GIB, TIB, 10 * TIB]


class MemoryGateway(Gateway):
    """The same process around a disk in memory: what is there without a volume."""

    name = "memory"

    def section(self) -> str:
        return f"provider = memory\nsize = {self.size}\n"


def volume(bench: Bench, size: int) -> Measured:
    """One volume, all figures."""
    with bench.disk(Gateway, size) as disk:
        disk.do("write_places", size=size, places=64, length=MIB)
        disk.stop()
        disk.store.reset()
        clean = disk.start()
        requests = disk.store.asked().total
        memory = disk.resident_bytes()
        disk.do("scattered", size=size, rounds=20, writes=1)
        disk.kill()
        disk.store.reset()
        unclean = disk.start()
        again = disk.store.asked().total
        zero = disk.do("zero_places", size=size, count=min(64, size // GIB), length=GIB)["zero_s"]
        return {
            "clean_s": clean,
            "requests clean": requests,
            "unclean_s": unclean,
            "requests unclean": again,
            "memory_mb": memory / 1e6,
            "zero_ms": zero * 1000,
        }


def bare(bench: Bench) -> Measured:
    """The gateway alone."""
    with bench.disk(MemoryGateway, GIB) as disk:
        disk.stop()
        seconds = disk.start()
        return {"clean_s": seconds, "memory_mb": disk.resident_bytes() / 1e6}


def measured(quick: bool, runs: int) -> dict[str, Measured]:
    """Medians by size in bytes, as text; ``bare`` is the gateway alone."""
    sizes = [GIB, 10 * TIB] if quick else SIZES
    found: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="sizes") as home, Bench(Path(home), "near", quick) as b:
        for _ in range(runs):
            found.setdefault("bare", []).append(bare(b))
            for size in sizes:
                found.setdefault(str(size), []).append(volume(b, size))
                print(name_of(size), found[str(size)][-1], file=sys.stderr)
    return {
        size: {name: statistics.median(run[name] for run in all_runs) for name in all_runs[0]}
        for size, all_runs in found.items()
    }


def name_of(size: int) -> str:
    """Such as ``64 GiB``."""
    return f"{size // TIB} TiB" if size >= TIB else f"{size // GIB} GiB"


def plot(found: dict[str, Measured], file: Path) -> None:
    """Three pictures side by side, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nbdgateway"
    from matplotlib import pyplot

    bare = found["bare"]
    sizes = sorted(int(size) for size in found if size != "bare")
    pictures = [
        ("until the disk is served", "seconds", ["clean_s", "unclean_s"], "clean_s"),
        ("memory once it is", "MB", ["memory_mb"], "memory_mb"),
        ("one WRITE_ZEROES of 1 GiB", "milliseconds", ["zero_ms"], None),
    ]
    words = {"clean_s": "after a clean end", "unclean_s": "after a kill", "memory_mb": "volume"}
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for axis, (title, unit, names, alone) in zip(axes, pictures, strict=True):
        for name in names:
            values = [found[str(size)][name] for size in sizes]
            axis.plot(sizes, values, marker="o", label=words.get(name, "volume"))
        if alone is not None:
            axis.axhline(bare[alone], linestyle="--", color="gray", label="disk in memory, 1 GiB")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [name_of(size) for size in sizes], rotation=45)
        axis.minorticks_off()
        axis.set_ylim(0, axis.get_ylim()[1] * 1.2)
        axis.set_title(title, fontsize=10)
        axis.set_ylabel(unit)
        if len(names) > 1 or alone is not None:
            axis.legend(fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, draw."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.volume_sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two sizes, once")
    parser.add_argument("--runs", type=int, help="of which medians are taken; 3, or 1 with --quick")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--from", dest="given", type=Path, help="draw such a file, measure nothing")
    parser.add_argument("--plot", type=Path, help="a file for the pictures")
    given = parser.parse_args(arguments)
    if given.given is not None:
        found = json.loads(given.given.read_text())
    else:
        found = measured(given.quick, given.runs or (1 if given.quick else 3))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.plot is not None:
        plot(found, given.plot)
    print("| size | served after | after a kill | requests | after a kill | memory | zeroing |")
    print("|---|---|---|---|---|---|---|")
    bare = found["bare"]
    print(f"| in memory | {bare['clean_s']:.2f} s | | | | {bare['memory_mb']:.0f} MB | |")
    for size in sorted(int(size) for size in found if size != "bare"):
        one = found[str(size)]
        print(
            f"| {name_of(size)} | {one['clean_s']:.2f} s | {one['unclean_s']:.2f} s |"
            f" {one['requests clean']:.0f} | {one['requests unclean']:.0f} |"
            f" {one['memory_mb']:.0f} MB | {one['zero_ms']:.2f} ms |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
