"""How hostile a store is."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Faults:
    """
    What may happen to a request; all but ranges are probabilities.

    Attributes:
        latency: seconds to the effect, and from there to the answer.
        slow: that a request takes `slow_seconds` instead.
        refuse: that it fails before it took effect.
        fail_after: that it fails after it took effect; of a delete, in part.
        lose: that no answer comes: `Transient` after `time_out` seconds, while the effect
            comes some `late` seconds after the start, or never.
        duplicate: that the effect is repeated `late` seconds after the start.
        garble: that a get contradicts itself.
        flip: that a get has a wrong bit and nobody noticed.
        wrong: that a get is answered otherwise than with what is there: with wrong bits, too
            few or too many bytes, or others; of each object once for each process.
        outage: that a request starts a time of `outage_seconds` in which all others fail.
    """

    latency: tuple[float, float] = (0.002, 0.03)
    slow: float = 0.0
    slow_seconds: tuple[float, float] = (0.1, 8.0)
    refuse: float = 0.0
    fail_after: float = 0.0
    lose: float = 0.0
    time_out: float = 15.0
    duplicate: float = 0.0
    late: tuple[float, float] = (0.05, 900.0)
    garble: float = 0.0
    flip: float = 0.0
    wrong: float = 0.0
    outage: float = 0.0
    outage_seconds: tuple[float, float] = (1.0, 200.0)


CALM = Faults()
FLAKY = Faults(slow=0.03, refuse=0.06, fail_after=0.06, lose=0.01, duplicate=0.03, garble=0.02)
LOSSY = Faults(
    slow=0.1, refuse=0.1, fail_after=0.1, lose=0.08, duplicate=0.1, garble=0.03, outage=0.002
)
REORDERING = Faults(latency=(0.001, 2.0), slow=0.2, duplicate=0.15, fail_after=0.05, lose=0.02)
LYING = Faults(
    latency=(0.001, 0.1), slow=0.05, slow_seconds=(0.1, 2.0), refuse=0.02, fail_after=0.02,
    duplicate=0.02, garble=0.02, wrong=0.15,
)  # fmt: skip
ROTTEN = Faults(slow=0.02, refuse=0.02, flip=0.02)
