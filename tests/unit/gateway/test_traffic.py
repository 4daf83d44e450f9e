"""What clients ask for, counted."""

from __future__ import annotations

from gateway.nbd import constants as c
from gateway.traffic import BOUNDS, OPS, READ, Connections, Traffic

_WRITE = OPS.index("write")


def test_kinds_have_the_numbers_of_nbd() -> None:
    """So that counting on the path of a request needs no table."""
    for number, name in c.COMMAND_NAMES.items():
        if name != "DISC":
            assert OPS[number] == name.lower(), name


def test_what_took_no_waiting_counts_in_the_first_bucket() -> None:
    """Without a look at a clock; what waited is where its time belongs."""
    traffic = Traffic()
    traffic.requests[READ] = 5
    traffic.waiting[READ] = 3
    assert traffic.latencies(READ) == [2, *[0] * len(BOUNDS)]
    traffic.answered(READ, 0.05)
    traffic.answered(READ, 100.0)
    assert traffic.latencies(READ)[0] == 2
    assert traffic.latencies(READ)[BOUNDS.index(0.05)] == 1
    assert traffic.latencies(READ)[-1] == 1
    assert (traffic.in_flight, traffic.seconds[READ]) == (1, 100.05)


def test_what_a_client_left_behind_is_not_in_flight_for_ever() -> None:
    """Nor does it count as answered."""
    clients = Connections(lambda: 1.0)
    traffic = Traffic()
    client = clients.enter("nbd", "peer", "disk", traffic)
    traffic.requests[_WRITE] = traffic.waiting[_WRITE] = 2
    assert clients.totals()["disk", "nbd"].in_flight == 2
    clients.leave(client)
    total = clients.totals()["disk", "nbd"]
    assert (total.in_flight, total.requests[_WRITE]) == (0, 2)
    assert sum(total.latencies(_WRITE)) == 0


def test_totals_go_on_when_clients_go() -> None:
    """Counters never fall."""
    clients = Connections(lambda: 1.0)
    for number in (1, 2):
        client = clients.enter("nbd", "peer", "disk", Traffic())
        client.traffic.requests[READ] = number
        client.traffic.fail("io")
        if number == 1:
            clients.leave(client)
    total = clients.totals()["disk", "nbd"]
    assert (total.requests[READ], total.errors, total.failed) == (3, {"io": 2}, 2)
    assert clients.total_of("disk").requests[READ] == 3


def test_parts_count_for_their_export() -> None:
    """There may be any number of snapshots."""
    clients = Connections(lambda: 1.0)
    clients.account_of = lambda name: name.partition("@")[0]
    clients.leave(clients.enter("nbd", "peer", "disk@monday", Traffic()))
    clients.enter("nbd", "peer", "disk@tuesday", Traffic())
    assert [*clients.totals()] == [("disk", "nbd")]


def test_exports_that_are_no_more_are_forgotten() -> None:
    """A gateway that is reconfigured for years does not grow."""
    clients = Connections(lambda: 1.0)
    for name in ("old", "new"):
        clients.leave(clients.enter("nbd", "peer", name, Traffic()))
    clients.forget({"new"})
    assert [*clients.totals()] == [("new", "nbd")]
