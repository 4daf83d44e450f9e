"""One volume through many deaths of its gateway."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from random import Random
from threading import Timer

from tests.crash.places import Named
from tests.crash.served import Served, content
from tests.crash.stamping_writer import ZONES, Ledger, StampingWriter
from tests.wire import Client


class Kills:
    """
    A gateway that is killed again and again; its disk is checked after each death.

    Args:
        directory: for the process.
        place: of an empty volume.
        durability: ``store`` or ``journal``.
        seed: of the moments, the requests and the settings.

    Attributes:
        counts: requests answered, flushes among them, and deaths by what they interrupted.
    """

    def __init__(self, directory: Path, place: Named, durability: str, seed: int) -> None:
        self._random = Random(seed)
        self._served = Served(directory, place)
        self._durability = durability
        self._ledger = Ledger()
        self._opening = 1.0  # seconds that it took the last time
        self.counts: Counter[str] = Counter()

    def round(self) -> None:
        """
        Kill once.

        Raises:
            Wrong: the disk holds what it may not hold.
        """
        self._choose_settings()
        if self._random.random() < 0.2:
            self._kill_while_opening()
        else:
            self._kill_while_writing()

    def finish(self) -> None:
        """Check once more, and end cleanly."""
        client = self._open_and_check()
        client.disconnect()
        client.connection.close()
        self._served.stop()
        assert not self._served.alarms()

    def stop(self) -> None:
        """Leave no process behind."""
        self._served.stop()

    def _choose_settings(self) -> None:
        """Small objects and short delays, so that whatever may happen does happen."""
        choice = self._random.choice
        self._served.keys = (
            f"durability = {self._durability}\n"
            "journal_size = 128M\n"
            f"object_size = {choice(['256K', '1M'])}\n"
            f"dirty_limit = {choice(['2M', '16M'])}\n"
            f"upload_delay = {choice(['0.02', '0.3', '5'])}\n"
            f"checkpoint_delay = {choice(['0.05', '0.5', '60'])}\n"
            f"cache_size = {choice(['0', '8M'])}\n"
        )

    def _kill_while_opening(self) -> None:
        self.counts["killed while opening"] += 1
        process = self._served.begin().process
        killer = Timer(self._random.uniform(0.2, 1.2) * self._opening, process.kill)
        killer.start()
        process.wait()
        killer.join()

    def _kill_while_writing(self) -> None:
        client = self._open_and_check()
        writer = StampingWriter(client, self._ledger, self._random, self._random.choice([1, 4, 16]))
        assert self._served.process is not None
        process = self._served.process.process
        killer = Timer(self._random.uniform(0.01, 0.6), process.kill)
        killer.start()
        try:
            writer.write_until(lambda: False)
        finally:
            killer.join()
            process.wait()
            client.connection.close()
        self.counts["killed while writing"] += 1
        self.counts["answered"] += writer.answered
        self.counts["flushed"] += writer.flushed
        assert not self._served.alarms()

    def _open_and_check(self) -> Client:
        begun = time.monotonic()
        self._served.serve()
        self._opening = time.monotonic() - begun
        client = self._served.open()
        try:
            observed = content(client, ZONES)
            # What was answered is in a journal, flushed or not: the machine did not crash.
            self._ledger.branch.check_crash(observed, kept=self._durability == "journal")
        except BaseException:
            client.connection.close()
            raise
        self._ledger.start_anew(observed)
        return client
