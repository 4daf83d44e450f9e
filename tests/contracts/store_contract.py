"""What every object store promises: the sentences of `backends.objects.contract` as tests.

A store joins by a subclass of `StoreContract` with a ``lab`` fixture that
yields a `StoreLab`::

    class TestMine(StoreContract):
        @pytest.fixture
        def lab(self, tmp_path):
            pump = Pump()
            store = in_threads(MyBlockingStore(...), pump, 16, 16)
            yield StoreLab(store, turn=pump.turn)

Each test gets a lab of its own, with a store in which there is nothing; in a
bucket that tests share, give each store a prefix of its own. Closing the
store is the contract's business. A store that answers at once, or through a
`Clock`, needs no `Pump`: ``turn`` is whatever makes answers come.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from backends.objects.contract import PAGE, Exists, IObjectStore, NotFound, Refused
from gateway.info import MIB

#: Whatever people call their buckets' folders.
ODD_SEGMENTS = [
    "a b",
    "a+b&c=d",
    "100%",
    "%2f",
    "what?",
    "#1",
    "it's",
    '"quoted"',
    "semi;colon",
    "back\\slash",
    "<tag>",
    "...",
    "a..b",
    "-",
    "~",
    "grün",
    "u\u0308",  # not composed
    "\u65e5\u672c",
    "\uff5e",  # sorts before the next by code point, behind it in UTF-16
    "\U0001f600",
]


class StoreLab:
    """
    A store, and how to wait for it.

    Args:
        store: the `IObjectStore`; there are no objects in it.
        turn: lets time pass or threads work, once.
        knows_its_own: whether putting the same bytes again succeeds, as the
            law has it; a store that makes single attempts leaves that to
            `RetryingStore` and raises `Exists`.
        refusal: asks for something that the store refuses: a function of the
            store that answers with the request's Deferred and with texts that
            the failure must hold; None if it refuses nothing.
        secrets: texts that may never be told.
    """

    def __init__(self, store, turn=lambda: None, knows_its_own=False, refusal=None, secrets=()):
        self.store = store
        self.turn = turn
        self.knows_its_own = knows_its_own
        self.refusal = refusal
        self.secrets = secrets

    def settle(self, deferred):
        """The answer, when it has come; failures are raised."""
        (answer,) = self.outcomes([deferred])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def outcomes(self, deferreds):
        """The answers to requests that are under way together; of those that failed, the errors."""
        answers = [None] * len(deferreds)
        left = len(deferreds)

        def answered(result, index):
            nonlocal left
            answers[index] = result
            left -= 1

        for index, deferred in enumerate(deferreds):
            assert isinstance(deferred, Deferred)
            deferred.addErrback(lambda failure: failure.value)
            deferred.addCallback(answered, index)
        for _ in range(100_000):
            if not left:
                return answers
            self.turn()
        raise AssertionError(f"{left} of {len(deferreds)} requests have no answer")

    def all(self, deferreds):
        """The answers to requests that are under way together; none may fail."""
        answers = self.outcomes(deferreds)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def put(self, key, data=b"", if_absent=True):
        self.settle(self.store.put(key, [data], if_absent))

    def fill(self, keys):
        """Make an object of each key that holds its key; a lab may know a shorter way."""
        self.all([self.store.put(key, [key.encode()], True) for key in keys])

    def read(self, key):
        """All of an object; by its size and one byte more."""
        size = self.settle(self.store.head(key)).size
        data = self.settle(self.store.get(key, 0, size + 1))
        assert len(data) == size
        return data

    def pages(self, prefix="", after=""):
        """All pages of a listing, the last of which is not full."""
        pages = []
        while True:
            page = self.settle(self.store.list(prefix, after))
            assert isinstance(page, list)
            assert len(page) <= PAGE
            pages.append(page)
            if len(page) < PAGE:
                return pages
            after = page[-1].key

    def keys(self, prefix="", after=""):
        return [listed.key for page in self.pages(prefix, after) for listed in page]


class StoreContract:
    """Every test has a lab of its own."""

    @pytest.fixture
    def store(self, lab):
        yield lab.store
        lab.settle(lab.store.close())

    def test_it_provides_the_interface(self, store):
        """
        A store has every method of the law, with its arguments.
        """
        assert verifyObject(IObjectStore, store)

    def test_it_says_where_the_objects_lie(self, lab, store):
        """
        The description is one line for people, without secrets.
        """
        text = store.describe()
        assert text
        assert "\n" not in text
        assert not any(secret in text for secret in lab.secrets)

    @pytest.mark.parametrize("if_absent", [False, True])
    @pytest.mark.parametrize("size", [0, 1, 511, 65536, 8 * MIB + 1])
    def test_what_was_put_is_got(self, lab, store, size, if_absent):
        """
        Objects of any size, empty ones as well, come back to the byte.
        """
        data = bytes(range(251)) * (size // 251 + 1)
        lab.put("log/0001", data[:size], if_absent)
        assert lab.read("log/0001") == data[:size]

    @pytest.mark.parametrize(
        "parts",
        [
            [],
            [b""],
            [b"", b"a", b""],
            [b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3]],
            [bytes([n % 251]) * 7 for n in range(3000)],
            [memoryview(bytearray(3 * MIB)), b"-", memoryview(bytes(3 * MIB))],
        ],
        ids=["none", "empty", "one of three", "kinds", "many", "large"],
    )
    @pytest.mark.parametrize("if_absent", [False, True])
    def test_parts_are_joined(self, lab, store, parts, if_absent):
        """
        An object is its parts without a gap, whatever kind of buffer they are.
        """
        lab.settle(store.put("a", parts, if_absent))
        assert lab.read("a") == b"".join(parts)

    def test_parts_are_used_until_the_answer_only(self, lab, store):
        """
        A buffer may be filled with something else once the put is answered.
        """
        buffer = bytearray(b"first")
        lab.settle(store.put("a", [memoryview(buffer)], True))
        buffer[:] = b"other"
        assert lab.read("a") == b"first"

    def test_any_range_can_be_got(self, lab, store):
        """
        Fewer bytes only at the object's end, none at or behind it.
        """
        data = bytes(range(100))
        lab.put("a", data)
        for start in (0, 1, 50, 98, 99, 100, 101, 10**6):
            for length in (0, 1, 2, 50, 99, 100, 101, 10**6):
                got = lab.settle(store.get("a", start, length))
                assert isinstance(got, bytes)
                assert got == data[start : start + length], (start, length)

    def test_any_range_of_an_empty_object_is_empty(self, lab, store):
        """
        An object without bytes exists: getting from it is no failure.
        """
        lab.put("a", b"")
        for start in (0, 1):
            for length in (0, 1, 10**6):
                assert lab.settle(store.get("a", start, length)) == b""

    @pytest.mark.parametrize("length", [0, 1])
    def test_getting_what_is_not_there(self, lab, store, length):
        """
        The failure names the key.
        """
        lab.put("log/1")
        for key in ("log/2", "log", "log/1/x", "other/deep/down"):
            with pytest.raises(NotFound, match=key):
                lab.settle(store.get(key, 0, length))

    def test_head_tells_what_a_listing_tells(self, lab, store):
        """
        Key, size and time are the same by either way.
        """
        lab.put("log/1", b"12345")
        head = lab.settle(store.head("log/1"))
        assert (head.key, head.size) == ("log/1", 5)
        (listed,) = lab.settle(store.list("log/", ""))
        assert (listed.key, listed.size) == ("log/1", 5)
        assert abs(listed.modified - head.modified) < 2  # HTTP's dates have no fractions

    def test_times_go_on(self, lab, store):
        """
        What was put later is not dated earlier, by more than a date is exact to.
        """
        lab.put("b")
        lab.put("a")
        assert lab.settle(store.head("b")).modified < lab.settle(store.head("a")).modified + 2

    def test_the_head_of_what_is_not_there(self, lab, store):
        """
        The failure names the key; a name that others begin with is no object.
        """
        lab.put("log/1")
        for key in ("log/2", "log"):
            with pytest.raises(NotFound, match=key):
                lab.settle(store.head(key))

    def test_a_name_that_is_taken(self, lab, store):
        """
        With ``if_absent`` the object stays as it is, and the failure names the key.
        """
        lab.put("log/1", b"first")
        for data in (b"other", b"fir", b"first!", b""):
            with pytest.raises(Exists, match="log/1"):
                lab.put("log/1", data)
            assert lab.read("log/1") == b"first"

    @pytest.mark.parametrize("data", [b"", b"first", bytes(range(256)) * 40_000])
    def test_the_same_bytes_again(self, lab, store, data):
        """
        The very bytes that are there count as our own earlier attempt.
        """
        lab.put("log/1", data)
        if lab.knows_its_own:
            lab.settle(store.put("log/1", [data[:3], data[3:]], True))
        else:
            with pytest.raises(Exists):
                lab.put("log/1", data)
        assert lab.read("log/1") == data

    def test_a_name_that_was_freed(self, lab, store):
        """
        After a delete the name can be had again.
        """
        lab.put("log/1", b"first")
        lab.settle(store.delete(["log/1"]))
        lab.put("log/1", b"other")
        assert lab.read("log/1") == b"other"

    def test_without_the_condition_the_last_one_stays(self, lab, store):
        """
        A put without ``if_absent`` replaces the object, whether longer or shorter.
        """
        for data in (b"first", b"the second", b"", b"x"):
            lab.put("a", data, if_absent=False)
            assert lab.read("a") == data
        assert lab.keys() == ["a"]

    @pytest.mark.parametrize("round", range(3))
    def test_a_race_has_one_winner(self, lab, store, round):
        """
        Of 16 puts at once with ``if_absent`` one succeeds; its bytes are what is there.
        """
        contents = [bytes([n]) * 10_000 for n in range(16)]
        answers = lab.outcomes([store.put("log/1", [data], True) for data in contents])
        (winner,) = [index for index, answer in enumerate(answers) if answer is None]
        assert all(isinstance(answer, Exists) for answer in answers if answer is not None)
        assert lab.read("log/1") == contents[winner]

    def test_a_race_without_the_condition_leaves_one_of_them(self, lab, store):
        """
        Racing puts succeed all, and objects are never mixed.
        """
        contents = [bytes([n]) * (10_000 + n) for n in range(16)]
        lab.all([store.put("a", [data], False) for data in contents])
        assert lab.read("a") in contents

    def test_a_listing_is_in_the_order_of_keys(self, lab, store):
        """
        By code point of the whole key: a slash is a character like others.
        """
        keys = ["a/x", "a-b/x", "a.b", "a0", "a/x-", "a/x.y/z", "a/x0", "a/-", "b", "a_", "A", "0"]
        lab.all([store.put(key, [b""], True) for key in keys])
        assert lab.keys() == sorted(keys)
        assert lab.keys("a") == sorted(key for key in keys if key.startswith("a"))
        assert lab.keys("a/x") == ["a/x", "a/x-", "a/x.y/z", "a/x0"]

    def test_a_listing_starts_behind_any_key(self, lab, store):
        """
        ``after`` need not exist, nor start with the prefix; it is not listed itself.
        """
        keys = sorted(["a", "b/1", "b/2", "b/2-", "b-/1", "b/3/x", "b0", "c"])
        lab.all([store.put(key, [b""], True) for key in keys])
        afters = [*keys, "", "0", "a/", "b", "b/", "b/1/", "b/1/x", "b/25", "b/3", "b/3/", "b~"]
        for prefix in ("", "a", "b", "b/", "b/2", "b/3", "b/3/", "c", "d"):
            for after in [*afters, "d", "\U0010ffff"]:
                expected = [key for key in keys if key.startswith(prefix) and key > after]
                assert lab.keys(prefix, after) == expected, (prefix, after)

    @pytest.mark.parametrize("prefix", ["", "x", "log/", "log/0/", "b/../", "/", "//", "a/./"])
    def test_a_listing_of_nothing(self, lab, store, prefix):
        """
        Where no key starts with the prefix the list is empty, whatever the prefix looks like.
        """
        assert lab.keys(prefix) == []
        lab.put("a/b")
        assert lab.keys(prefix) == (["a/b"] if prefix == "" else [])

    def test_a_page_is_full_unless_it_is_the_last(self, lab, store):
        """
        Listings go on by the last key of a page; none is left out, none comes twice.
        """
        keys = [f"log/{n:04d}" for n in range(PAGE)] + [f"m/{n}" for n in range(5)]
        lab.fill(keys)
        pages = lab.pages()
        assert [len(page) for page in pages] == [PAGE, 5]
        assert [listed.key for page in pages for listed in page] == keys
        assert all(listed.size == len(listed.key) for page in pages for listed in page)
        assert [len(page) for page in lab.pages("log/")] == [PAGE, 0]
        assert [len(page) for page in lab.pages("log/", keys[0])] == [PAGE - 1]

    def test_a_page_of_keys_is_deleted_at_once(self, lab, store):
        """
        One delete takes as many keys as a listing gives.
        """
        keys = [f"log/{n:04d}" for n in range(PAGE)]
        lab.fill([*keys, "log/9999"])
        lab.settle(store.delete(keys))
        assert lab.keys() == ["log/9999"]

    def test_deleting_what_is_not_there(self, lab, store):
        """
        Missing objects are no failure, alone or beside others; no keys are nothing to do.
        """
        lab.put("log/1")
        lab.put("log/2")
        lab.settle(store.delete([]))
        lab.settle(store.delete(["log/3"]))
        lab.settle(store.delete(["log", "other/log/1", "log/1/x"]))
        assert lab.keys() == ["log/1", "log/2"]
        lab.settle(store.delete(["log/0", "log/1", "log/3"]))
        lab.settle(store.delete(["log/1"]))
        assert lab.keys() == ["log/2"]

    def test_what_was_answered_is_seen(self, lab, store):
        """
        Get, head and list know of every answered put and delete.
        """
        for n in range(20):
            key = f"log/{n:04d}"
            lab.put(key, b"x" * n)
            assert lab.keys("log/") == [key]
            assert lab.settle(store.head(key)).size == n
            lab.settle(store.delete([key]))
            assert lab.keys("log/") == []
            with pytest.raises(NotFound):
                lab.settle(store.head(key))
            with pytest.raises(NotFound):
                lab.settle(store.get(key, 0, 1))

    def test_requests_get_along_with_each_other(self, lab, store):
        """
        Puts, reads and deletes of neighbours, all at once, leave what each was to leave.
        """
        keys = [f"{n % 5}/{n:03d}" for n in range(100)]
        for _ in range(2):  # the second time beside what was deleted
            lab.all([store.put(key, [key.encode()], True) for key in keys])
            deletes = [store.delete([key]) for key in keys[:50]]
            puts = [store.put(f"{key}-new", [b"new"], True) for key in keys[:50]]
            gets = [store.get(key, 0, 10) for key in keys[50:]]
            lists = [store.list(f"{n}/", "") for n in range(5)]
            lab.all(deletes + puts + lists)
            assert lab.all(gets) == [key.encode() for key in keys[50:]]
            assert lab.keys() == sorted(keys[50:] + [f"{key}-new" for key in keys[:50]])
            lab.settle(store.delete(lab.keys()))

    def test_odd_keys(self, lab, store):
        """
        What an operator's prefix holds is kept as it is, and sorted by code point.
        """
        keys = [f"{segment}/log/0" for segment in ODD_SEGMENTS]
        lab.all([store.put(key, [key.encode()], True) for key in keys])
        assert lab.keys() == sorted(keys)
        for key in keys:
            assert lab.read(key) == key.encode()
            assert lab.keys(key[: key.index("/") + 1]) == [key]
        middle = sorted(keys)[len(keys) // 2]
        assert lab.keys("", middle) == sorted(keys)[len(keys) // 2 + 1 :]
        lab.settle(store.delete(keys))
        assert lab.keys() == []

    @pytest.mark.parametrize("character", ["a", "\u65e5"])
    def test_the_longest_keys(self, lab, store, character):
        """
        A key of 1,024 bytes is like any other.
        """
        segment = character * (240 // len(character.encode()))
        key = "/".join([segment] * 4)
        key += "/" + "b" * (1023 - len(key.encode()))
        assert len(key.encode()) == 1024
        lab.put(key, b"data")
        assert lab.read(key) == b"data"
        assert lab.keys(segment) == [key]
        lab.settle(store.delete([key]))
        assert lab.keys() == []

    def test_a_refusal_says_what_and_why(self, lab, store):
        """
        What was asked and what is wrong with it, in words, without secrets.
        """
        if lab.refusal is None:
            pytest.skip("this store refuses nothing")
        deferred, texts = lab.refusal(store)
        with pytest.raises(Refused) as caught:
            lab.settle(deferred)
        for text in texts:
            assert text in str(caught.value)
        assert not any(secret in str(caught.value) for secret in lab.secrets)

    def test_closing_leaves_no_request_without_an_answer(self, lab):
        """
        What is under way when a store is closed ends first, or fails.
        """
        puts = [lab.store.put(f"log/{n}", [b"data"], True) for n in range(40)]
        gets = [lab.store.get("log/0", 0, 1) for _ in range(40)]
        closing = lab.store.close()
        lab.outcomes([*puts, *gets])
        lab.settle(closing)

    def test_closing_without_a_request(self, lab):
        """
        A store that was never asked anything closes as well.
        """
        lab.settle(lab.store.close())
