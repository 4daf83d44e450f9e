"""What a probe finds: stores that keep their word, and those that break it in one way each."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer

from backends.objects.contract import Exists, Garbled, IObjectStore, NotFound, Refused, Transient
from backends.objects.memory import MemoryStore
from backends.objects.probe import ATTEMPTS, RACERS, ROUNDS, probe, warnings_of
from backends.objects.probe_report import Report
from backends.objects.s3_facts import Facts
from tests.doubles.faulty_store import FaultyStore

TOKEN = "0123456789abcdef"
NOON = 1_700_000_000.0


@implementer(IObjectStore)
class Passing:
    """Does what another store does; the liars below change one thing."""

    def __init__(self) -> None:
        self.real = MemoryStore()

    def put(self, key, parts, if_absent):
        return self.real.put(key, parts, if_absent)

    def get(self, key, start, length):
        return self.real.get(key, start, length)

    def head(self, key):
        return self.real.head(key)

    def list(self, prefix, after):
        return self.real.list(prefix, after)

    def delete(self, keys):
        return self.real.delete(keys)

    def describe(self):
        return "a store for tests"

    def close(self):
        return self.real.close()


class IgnoresConditions(Passing):
    def put(self, key, parts, if_absent):
        return self.real.put(key, parts, False)


class RefusesConditions(Passing):
    def put(self, key, parts, if_absent):
        if if_absent:
            return fail(Refused("PUT: this store has no conditional writes"))
        return self.real.put(key, parts, False)


class WritesAllTheSame(Passing):
    def put(self, key, parts, if_absent):
        put = self.real.put(key, parts, if_absent)

        def exists(failure):
            self.real.put(key, parts, False)
            return failure

        return put.addErrback(exists)


class TakesConditionsForTheirOpposite(Passing):
    def put(self, key, parts, if_absent):
        if if_absent:
            return fail(Exists(key))
        return self.real.put(key, parts, False)


class LooksBeforeItWrites(Passing):
    """Looks for the name, and writes a moment later."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def put(self, key, parts, if_absent):
        put = self.real.put

        def there(listed):
            return fail(Exists(key))

        def not_there(failure):
            failure.trap(NotFound)
            return deferLater(self.clock, 1, put, key, parts, False)

        if not if_absent:
            return put(key, parts, False)
        return self.real.head(key).addCallbacks(there, not_there)


class KeepsTheWrongWinner(Passing):
    """Tells the first that it won, and keeps the bytes of the last."""

    def put(self, key, parts, if_absent):
        answer = self.real.put(key, parts, if_absent)
        if if_absent and "race" in key:
            self.real.put(key, parts, False)
        return answer


class ListsTheDayBefore(Passing):
    def list(self, prefix, after):
        return succeed([])


class ListsTheDead(Passing):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def list(self, prefix, after):
        def remember(found):
            self.seen.update((item.key, item) for item in found)
            return [self.seen[key] for key in sorted(self.seen)]

        return self.real.list(prefix, after).addCallback(remember)


class DeletesTomorrow(Passing):
    def list(self, prefix, after):
        listing = self.real.list(prefix, after)
        return listing.addCallback(
            lambda found: [item for item in found if item.key not in self.gone]
        )

    def delete(self, keys):
        self.gone.update(keys)
        return succeed(None)

    def __init__(self):
        super().__init__()
        self.gone = set()


class ListsGarbage(Passing):
    def list(self, prefix, after):
        return fail(Garbled("not in order"))


class IgnoresRanges(Passing):
    def get(self, key, start, length):
        return self.real.get(key, 0, 10**6)


class StartsOneLate(Passing):
    def get(self, key, start, length):
        return self.real.get(key, start + 1 if start else 0, length)


class SaysThatRangesAreWrong(Passing):
    def get(self, key, start, length):
        if length < 10**4 and start:
            return fail(Garbled("the store ignores Range"))
        return self.real.get(key, start, length)


def probed(store, facts=None, turn=lambda: None) -> Report:
    answers: list[object] = []
    probe(store, "vol/", TOKEN, lambda: NOON, facts).addBoth(answers.append)
    for _ in range(1000):
        if answers:
            break
        turn()
    (answer,) = answers
    if isinstance(answer, Report):
        return answer
    answer.raiseException()
    raise AssertionError


def left_in(store) -> list[str]:
    found: list[object] = []
    store.list("", "").addCallback(found.extend)
    return [item.key for item in found]


def test_a_store_that_keeps_its_word_is_safe():
    """And nothing of the probe is left."""
    store = FaultyStore(MemoryStore())
    report = probed(store)
    assert report == Report(store.describe(), NOON, [], {}, [])
    assert left_in(store) == []


def test_a_probe_costs_about_a_hundred_requests():
    store = FaultyStore(MemoryStore())
    probed(store)
    races = [call for call in store.calls if call[0] == "put" and "race-" in call[1]]
    assert len(races) == RACERS * ROUNDS
    assert len(store.calls) < 110


def test_everything_lies_under_the_prefix_and_the_token():
    """Probes of several gateways do not meet."""
    store = FaultyStore(MemoryStore())
    probed(store)
    keys = {call[1] for call in store.calls if call[0] in ("put", "get", "head", "list")}
    assert all(key.startswith(f"vol/probe/{TOKEN}/") for key in keys)


def test_racers_put_different_bytes():
    """Equal bytes would count as an earlier attempt of one's own."""
    store = FaultyStore(MemoryStore())
    probed(store)
    bodies = [b"".join(call[2]) for call in store.calls if call[0] == "put" and "race-0" in call[1]]
    assert len(set(bodies)) == RACERS


@pytest.mark.parametrize(
    ("liar", "unsafe"),
    [
        (IgnoresConditions, ["conditional-put", "race"]),
        (RefusesConditions, ["conditional-put", "race"]),
        (TakesConditionsForTheirOpposite, ["conditional-put", "race"]),
        (WritesAllTheSame, ["conditional-put", "race"]),
        (KeepsTheWrongWinner, ["race"]),
        (ListsTheDayBefore, ["list-after-put"]),
        (ListsTheDead, ["list-after-put"]),
        (DeletesTomorrow, ["list-after-put"]),
        (ListsGarbage, ["list-after-put"]),
        (IgnoresRanges, ["range"]),
        (StartsOneLate, ["range"]),
        (SaysThatRangesAreWrong, ["range"]),
    ],
)
def test_a_store_that_breaks_its_word_is_found(liar, unsafe):
    """Each in its way, and with what it did."""
    report = probed(liar())
    assert report.unsafe == unsafe
    assert report.seen.keys() == set(unsafe)


def test_a_store_that_looks_before_it_writes_is_found_by_the_race_alone():
    """One after the other it does all right."""
    clock = Clock()
    report = probed(LooksBeforeItWrites(clock), turn=lambda: clock.advance(1))
    assert report.unsafe == ["race"]
    assert report.seen["race"] == f"{RACERS} of {RACERS} puts at once for one name succeeded"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_race_with_an_unknown_end_is_run_again(when):
    """A put that was not answered may have won."""
    store = FaultyStore(MemoryStore())
    store.let_pass("put", 5)  # plain, listed, range and two with the condition
    store.fail("put", Transient("busy"), when)
    assert probed(store).unsafe == []
    races = {call[1] for call in store.calls if call[0] == "put" and "race-" in call[1]}
    assert len(races) == ROUNDS + 1


def test_a_store_that_answers_no_race_is_not_judged():
    store = FaultyStore(MemoryStore())
    store.let_pass("put", 5)
    for _ in range(ATTEMPTS):
        store.fail("put", Transient("busy"))
        store.let_pass("put", RACERS - 1)
    with pytest.raises(Transient, match=f"of {ATTEMPTS} races 0 were answered"):
        probed(store)
    assert left_in(store) == []


@pytest.mark.parametrize("error", [Refused("403 AccessDenied"), Transient("no answer")])
@pytest.mark.parametrize("verb", ["put", "list"])
def test_a_store_that_cannot_be_used_is_not_judged(verb, error):
    """Its own words are told."""
    store = FaultyStore(MemoryStore())
    store.fail(verb, error)
    with pytest.raises(type(error), match=str(error)):
        probed(store)
    assert left_in(store) == []


def test_what_could_not_be_deleted_is_told():
    store = FaultyStore(MemoryStore())
    store.let_pass("delete")
    store.fail("delete", Transient("no answer"))
    report = probed(store)
    assert report.unsafe == []
    assert report.warnings == [f"objects of the probe were left at vol/probe/{TOKEN}/"]


def test_facts_become_warnings():
    report = probed(MemoryStore(), lambda: succeed(Facts("enabled", "on", 400.0)))
    assert [text.split(" ")[0] for text in report.warnings] == ["versioning", "the", "this"]


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (Facts(), None),
        (Facts("off", "off", 1.0), None),
        (Facts("off", "off", -300.0), None),
        (Facts("suspended", "off", None), "suspended"),
        (Facts("off", "on", None), "object lock"),
        (Facts("off", "off", 301.0), "301 seconds ahead of"),
        (Facts("off", "off", -301.0), "301 seconds behind"),
    ],
)
def test_a_fact_is_told_if_it_matters(facts, word):
    """What is unknown is not."""
    found = warnings_of(facts)
    assert len(found) == (word is not None)
    assert word is None or word in found[0]
