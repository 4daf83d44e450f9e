"""Tests of when a link asks its socket again before it leaves it to the reactor."""

from __future__ import annotations

from gateway.nbd.polling import Polling


def turns_until_asking(polling: Polling, link: object, most: int = 5000) -> int:
    """How many turns ``link`` is served before it may ask; ``most`` if never."""
    for turn in range(1, most):
        if polling.worthwhile(link):
            return turn
    return most


def test_a_link_asks_only_after_many_turns_of_its_own() -> None:
    """A link that was served once waits in the reactor."""
    polling = Polling()
    assert turns_until_asking(polling, "a") > 16


def test_links_that_take_turns_never_ask() -> None:
    """While one connection asks on, others would wait."""
    polling = Polling()
    assert not any(polling.worthwhile("ab"[turn % 2]) for turn in range(1000))


def test_what_it_found_makes_it_ask_at_every_turn() -> None:
    """A conversation that goes on is not interrupted."""
    polling = Polling()
    turns_until_asking(polling, "a")
    polling.found()
    assert polling.worthwhile("a")
    assert polling.worthwhile("a")


def test_finding_nothing_doubles_the_pause_up_to_a_limit() -> None:
    """A client that comes rarely costs ever less processor time."""
    polling = Polling()
    pauses = []
    for _ in range(12):
        pauses.append(turns_until_asking(polling, "a"))
        polling.missed()
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] <= 1025
