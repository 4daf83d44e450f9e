"""Every byte of data is read, no faster than allowed."""

from __future__ import annotations

import pytest

from backends.volume.header import decode
from backends.volume.inspection.scrubbing import scrub
from backends.volume.inspection.view import look
from gateway.maintenance import Severity
from tests.doubles.volume_at_rest import QUIET, VolumeAtRest

KEY = bytes(range(32))


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def lab(request):
    made = VolumeAtRest(key=request.param)
    made.host.settle(made.volume.write(1 << 20, made.random.randbytes(256 << 10), True))
    made.host.settle(made.volume.snapshots.take("then"))
    made.host.settle(made.volume.write(1 << 20, b"later" + bytes(507), True))
    made.close()
    return made


def largest(lab):
    view = lab.do(look)
    return max(view.objects, key=lambda key: view.objects[key] if "/log/" in key else 0)


def test_a_volume_that_is_well(lab):
    verdict = lab.do(scrub, QUIET, 0)
    assert verdict.findings == ()
    assert verdict.bytes > 256 << 10


def test_a_turned_bit_is_named_with_object_frame_and_ranges(lab):
    """In the head the first sector of the frame was written over since; in the snapshot not."""
    key = largest(lab)
    header = decode(lab.get(key), None, key)
    lab.flip(key, header.frame_offset(0) + 7)
    found = lab.do(scrub, QUIET, 0).findings
    assert {(one.object, one.severity) for one in found} == {(key, Severity.DAMAGE)}
    assert all(f"{key}: frame 0: CRC: got" in one.what for one in found)
    start, length = 1 << 20, header.frame_plain_length(0)
    ranges = {one.snapshot: one.ranges for one in found}
    assert ranges == {
        None: ((start + 512, length - 512),),
        "then": ((start, length),),
    }


def test_damage_behind_the_checkpoint_is_named(lab):
    lab.open()
    lab.host.settle(lab.volume.write(8 << 20, lab.random.randbytes(4096), True))
    (key,) = lab.keys("log/")[-1:]
    lab.flip(key, -9)
    (one,) = lab.do(scrub, QUIET, 0).findings
    assert (one.object, one.ranges) == (key, ((8 << 20, 4096),))


def test_no_faster_than_allowed(lab):
    """256 KiB at 64 KiB a second take four seconds, of which the last may be unslept."""
    before = lab.host.clock.seconds()
    lab.do(scrub, QUIET, 64 << 10)
    assert lab.host.clock.seconds() - before > 2


def test_progress_is_told_in_bytes(lab):
    told = []
    lab.do(scrub, lambda *what: told.append(what), 0)
    assert told[-1][0] == told[-1][1]
    assert told[-1][2] == "bytes"
