"""What snapshots there may be, and what each of them holds."""

from __future__ import annotations

import attrs

from tests.simulation.model import Wrong


@attrs.define
class Snapshot:
    """
    One snapshot that was asked for.

    Attributes:
        asked: the moment.
        branch: the `Branch` that it is of; frozen once the answer has come.
        state: ``making``, ``there``, ``going``, ``gone``. The first and the third are those
            of which nobody knows whether the request took effect.
        content: model bytes, once they were read.
        pins: while there are any, nobody deletes it.
    """

    name: str
    asked: int
    branch: object
    state: str = "making"
    frozen: bool = False
    content: bytes | None = None
    pins: int = 0

    def freeze(self):
        """Nothing that happens from now on is in it."""
        if not self.frozen:
            self.branch.pinned -= 1
            self.branch = self.branch.freeze()
            self.frozen = True

    def check(self, observed):
        """
        Compare what was read from the whole snapshot.

        Raises:
            Wrong.
        """
        if self.content is None:
            self.freeze()
            try:
                self.branch.check_crash(observed, floor=self.asked)
            except Wrong as wrong:
                raise Wrong(f"snapshot {self.name}: {wrong}") from None
            self.content = bytes(observed)
        elif self.content != observed:
            at = next(at for at, byte in enumerate(self.content) if byte != observed[at])
            raise Wrong(f"snapshot {self.name} has changed at model byte {at}")


class Snapshots:
    """All that were ever asked for in one volume, by name; no name is used twice."""

    def __init__(self):
        self.known = {}

    def asked(self, name, moment, branch):
        """Somebody asks for one."""
        branch.pinned += 1
        self.known[name] = Snapshot(name, moment, branch)

    def made(self, name):
        """The answer was: done."""
        snapshot = self.known[name]
        if snapshot.state == "gone":
            raise Wrong(f"snapshot {name} was made, but the next writer did not find it")
        snapshot.freeze()
        snapshot.state = "there"

    def deleted(self, name):
        """The answer to a deletion was: done."""
        snapshot = self.known[name]
        if snapshot.state == "there":
            raise Wrong(f"snapshot {name} was deleted, but the next writer found it")
        snapshot.state = "gone"

    def found(self, names):
        """
        What a volume says that was just attached: from here on nothing is unknown.

        Raises:
            Wrong.
        """
        if set(names) - set(self.known):
            raise Wrong(f"snapshots {names}: nobody made {set(names) - set(self.known)}")
        for name, snapshot in self.known.items():
            if name in names:
                if snapshot.state == "gone":
                    raise Wrong(f"snapshot {name} is there again, or still")
                snapshot.freeze()
                snapshot.state = "there"
            else:
                if snapshot.state == "there":
                    raise Wrong(f"snapshot {name} is missing")
                snapshot.freeze()
                snapshot.state = "gone"

    def there(self):
        """Those that certainly exist."""
        return [snapshot for snapshot in self.known.values() if snapshot.state == "there"]
