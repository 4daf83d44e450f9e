"""The directory store: other processes, and such as die."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends.objects.directory import DirectoryStore
from tests.unit.backends.objects.directory_store.listed import keys

_PUT_ALL = """
import sys
from backends.objects.contract import Exists
from backends.objects.directory import DirectoryStore
store = DirectoryStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[3])):
    try:
        store.put(f"{n % 7}/{n:04d}", [sys.argv[2].encode() * 1000], True)
        print(n, flush=True)
    except Exists:
        pass
    if n % 3 == 0:  # directories come and go under the other's puts
        store.put(f"{n % 7}-{n}/{sys.argv[2]}", [b""], True)
        store.delete([f"{n % 7}-{n}/{sys.argv[2]}"])
"""

_PUT_ON = """
import itertools, sys
from backends.objects.directory import DirectoryStore
store = DirectoryStore(sys.argv[1])
for n in itertools.count(int(sys.argv[2])):
    store.put(f"log/{n:08d}", [n.to_bytes(8, "big") * 50_000] * 3, n % 2 == 0)
    print(n, flush=True)
"""

_BE_STUCK = """
import os, sys
from backends.objects.directory import DirectoryStore
def fsync(fd):
    print("written", flush=True)
    sys.stdin.read()
    sys.exit()
os.fsync = fsync
DirectoryStore(sys.argv[1]).put("log/1", [b"data"], True)
"""


@pytest.fixture
def start(root):
    """Runs a program over the root, with arguments; it is gone after the test."""
    started = []

    def start_one(program, *args):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(root), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(backends.__file__).parent.parent,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


class TestProcesses:
    def test_racing_processes_win_each_name_once(self, store, start):
        """
        Two processes put the same keys; each key is won by exactly one, whose bytes are there.
        """
        count = 300
        racers = {name: start(_PUT_ALL, name, str(count)) for name in ("x", "y")}
        for racer in racers.values():
            assert racer.stdout.readline() == "ready\n"
        for racer in racers.values():
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = {name: [int(n) for n in racer.stdout] for name, racer in racers.items()}
        assert [racer.wait() for racer in racers.values()] == [0, 0]
        assert sorted(won["x"] + won["y"]) == list(range(count))
        for name, numbers in won.items():
            for n in numbers:
                assert store.get(f"{n % 7}/{n:04d}", 0, 2000) == name.encode() * 1000
        assert len(keys(store)) == count

    def test_a_killed_process_leaves_whole_objects(self, store, start, root):
        """
        Whatever a put was doing, there is the whole object or nothing; answered ones are there.
        """
        begin = 0
        for answered in (0, 1, 3, 10):
            process = start(_PUT_ON, str(begin))
            numbers = [int(process.stdout.readline()) for _ in range(answered + 1)]
            process.kill()
            numbers += [int(line) for line in process.stdout]
            process.wait()
            found = store.list("log/", "")
            assert [listed.key for listed in found[: begin + len(numbers)]] == [
                f"log/{n:08d}" for n in range(begin + len(numbers))
            ]
            for n, listed in enumerate(found):
                assert store.get(listed.key, 0, listed.size + 1) == n.to_bytes(8, "big") * 150_000
            begin = len(found)
        DirectoryStore(str(root)).put("log/x", [b""], True)
        assert os.listdir(root / ".tmp") == []

    def test_leftovers_of_the_dead_are_swept_and_files_of_the_living_are_not(self, start, root):
        """
        A new store removes what no live process is writing, when it first puts something.
        """
        living, dead = start(_BE_STUCK), start(_BE_STUCK)
        for process in (living, dead):
            assert process.stdout.readline() == "written\n"
        assert len(os.listdir(root / ".tmp")) == 2
        dead.kill()
        dead.wait()
        store = DirectoryStore(str(root))
        assert keys(store) == []
        assert len(os.listdir(root / ".tmp")) == 2
        store.put("vol/1", [b"data"], True)
        assert len(os.listdir(root / ".tmp")) == 1
        living.stdin.close()
        living.wait()
        assert keys(store) == ["vol/1"]
        assert os.listdir(root / ".tmp") == []
