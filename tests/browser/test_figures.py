"""What the page makes of counters, worked out in the browser that will do it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.page import Page
from tests.browser.served import Served

BOUNDS = [0.001, 0.005, 0.01]


@pytest.fixture(scope="module")
def calculator(browser: Page, served: Served) -> Page:
    """The page, with its modules at hand as ``figures`` and ``words``."""
    browser.open(served.url)
    browser.run("import('/dashboard/figures.js').then((found) => { window.figures = found; })")
    browser.run("import('/dashboard/words.js').then((found) => { window.words = found; })")
    browser.wait("return window.figures && window.words && true")
    return browser


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ([], 0.5, None),
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, {"kind": "most", "seconds": 0.001}),
        ([5, 4, 0, 1], 0.99, {"kind": "least", "seconds": 0.01}),
        ([0, 10, 0, 0], 0.5, {"kind": "about", "seconds": 0.003}),
        ([0, 0, 4, 0], 1, {"kind": "about", "seconds": 0.01}),
    ],
)
def test_quantiles_are_read_from_buckets(
    calculator: Page, buckets: list[int], q: float, expected: Any
) -> None:
    """Between the bounds in proportion; in the outer buckets the bound is all that is known."""
    found = calculator.run("return figures.quantile(...arguments)", BOUNDS, buckets, q)
    assert found == expected


def test_rates_are_growth_over_time(calculator: Page) -> None:
    """A new export has none, nor has a gateway that was started anew."""
    assert calculator.run(
        """
        const summary = (time, started, counts) => ({time, started, exports:
          Object.entries(counts).map(([name, write]) => ({name, requests: {write}}))});
        const history = new figures.History();
        const pick = figures.counter("requests", ["write", "trim"]);
        const grown = (name) => figures.growth(history.before(5), history.last, name, pick);
        history.add(summary(100, 1, {a: 10}));
        const first = grown("a");
        history.add(summary(102, 1, {a: 30, b: 1000}));
        const second = [grown("a"), grown("b"), grown(null)];
        history.add(summary(110, 9, {a: 5}));
        return [first, second, grown("a"), history.samples.length];
        """
    ) == [0, [10, 0, 10], 0, 1]


def test_two_minutes_are_kept(calculator: Page) -> None:
    """A page that is open for days holds no more than that."""
    assert (
        calculator.run(
            """
            const history = new figures.History();
            for (let time = 0; time < 500; time += 1) history.add({time, started: 0, exports: []});
            return history.samples.length;
            """
        )
        == 121
    )


def test_requests_cost_by_kind(calculator: Page) -> None:
    """PUT and LIST at one price, GET and HEAD at another, DELETE nothing; failures count too."""
    storage = {
        "s3_requests": {
            "put": {"ok": 900_000, "transient": 100_000},
            "list": {"ok": 1_000_000},
            "get": {"ok": 1_000_000},
            "head": {"not_found": 1_000_000},
            "delete": {"ok": 1_000_000},
        }
    }
    assert calculator.run(
        "const requests = figures.storeRequests(arguments[0]);"
        "return [figures.cost(requests, figures.S3_STANDARD), requests.failed]",
        storage,
    ) == [10.8, 100_000]


@pytest.mark.parametrize(
    ("say", "value", "expected"),
    [
        ("bytes", 0, "0 B"),
        ("bytes", 1536, "1.5 KiB"),
        ("bytes", 1 << 40, "1 TiB"),
        ("bytes", None, "–"),
        ("seconds", 0, "0 s"),
        ("seconds", 0.00025, "250 µs"),
        ("seconds", 0.0042, "4.2 ms"),
        ("seconds", 59.96, "60 s"),
        ("seconds", 3700, "1 h 1 min"),
        ("seconds", 90061, "1 d 1 h"),
        ("percent", None, "–"),
        ("percent", 1, "100 %"),
        ("percent", 0.9999, "99.9 %"),
        ("dollars", 0, "$0"),
        ("dollars", 0.00001, "< $0.0001"),
        ("dollars", 0.0123, "$0.0123"),
        ("dollars", 12.345, "$12.35"),
        ("count", 1234567, "1,234,567"),
    ],
)
def test_numbers_are_said_in_few_digits(
    calculator: Page, say: str, value: float | None, expected: str
) -> None:
    """In units that people read; what is almost all is not called all."""
    found = calculator.run("return words[arguments[0]](arguments[1])", say, value)
    assert found == expected
