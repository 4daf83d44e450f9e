"""The file export with real threads, under load from one reactor-like loop."""

from __future__ import annotations

import queue
import random
from concurrent.futures import ThreadPoolExecutor

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from backends.file.provider import FileProvider, FileSettings
from gateway.interfaces import Resources

SIZE = 4 * 1024 * 1024


class Loop:
    """Runs blocking work in threads and delivers its results here, one after the other."""

    def __init__(self, pool):
        self._pool = pool
        self._results = queue.SimpleQueue()

    def call_in_thread(self, function, *args):
        done = Deferred()

        def work():
            try:
                result = function(*args)
            except BaseException:
                result = Failure()
            self._results.put((done, result))

        self._pool.submit(work)
        return done

    def wait(self, result):
        """The answer of a request; delivers others meanwhile."""
        if not isinstance(result, Deferred):
            return result
        answers = []
        result.addBoth(answers.append)
        while not answers:
            done, outcome = self._results.get(timeout=60)
            done.callback(outcome)
        if isinstance(answers[0], Failure):
            answers[0].raiseException()
        return answers[0]


def test_overlapping_requests_in_threads_equal_a_row_of_bytes(tmp_path):
    """
    Hundreds of overlapping writes, zeroes and flushes in real threads leave what their
    order says.
    """
    rng = random.Random(1)
    model = bytearray(SIZE)
    with ThreadPoolExecutor(4) as pool:
        loop = Loop(pool)
        resources = Resources(Clock(), loop.call_in_thread, str(tmp_path))
        settings = FileSettings(path=str(tmp_path / "disk.raw"), size=SIZE)
        export = loop.wait(FileProvider().open_export("disk", settings, False, resources))
        unanswered = []
        for number in range(600):
            start = rng.randrange(SIZE)
            end = min(SIZE, start + rng.choice([1, 512, 5000, 70000, 2000000]))
            kind = rng.random()
            if kind < 0.7:
                payload = bytes([number % 256]) * (end - start)
                unanswered.append(export.write(start, payload, rng.random() < 0.3))
                model[start:end] = payload
            elif kind < 0.9:
                flags = rng.random() < 0.5, rng.random() < 0.2, False
                unanswered.append(export.write_zeroes(start, end - start, *flags))
                model[start:end] = bytes(end - start)
            else:
                unanswered.append(export.flush())
            if len(unanswered) > 16:
                loop.wait(unanswered.pop(rng.randrange(len(unanswered))))
        reading = export.read(0, SIZE)
        for result in unanswered:
            loop.wait(result)
        assert bytes(loop.wait(reading)) == model
        loop.wait(export.close())
    assert (tmp_path / "disk.raw").read_bytes() == model
