"""
What attaching costs, in requests.

It takes some eight requests, one for each log object behind the last
checkpoint, and one for each 8 MiB of the tables, which have 46 bytes for each
object. So a volume is scaled down here by the size of its objects, not by
their number; that the size of the disk does not matter is tested as it is.
"""

from __future__ import annotations

import pytest

from backends.volume.environment import Options
from gateway.info import KIB, MIB
from tests.figures import workloads
from tests.figures.lab import Lab
from tests.figures.workloads import GIB, TIB


@pytest.mark.parametrize("size", [GIB, 64 * GIB, TIB, 10 * TIB])
def test_attaching_does_not_depend_on_the_size_of_the_disk(size):
    """64 MiB in 64 places: as many requests on a gibibyte as on ten tebibytes."""
    found = workloads.attached(Lab(), size, 64 * MIB)
    assert len(found.clean) <= 10
    # 127 objects and a fence; of the map the root, and what applying has begun to ask for.
    assert found.unclean.count("get", "log") == 128
    assert len(found.unclean) <= 140


def test_attaching_to_12_800_objects_takes_300_requests_unclean_and_ten_clean():
    """As many as 100 GiB take, of 16 KiB each here."""
    lab = Lab(options=Options(object_bytes=16 * KIB, collect=False))
    found = workloads.attached(lab, TIB, 12_800 * 16 * KIB, piece=16 * KIB)
    assert len(found.clean) <= 10
    assert len(found.unclean) + len(found.behind) <= 300
