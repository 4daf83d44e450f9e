"""Chromium, driven by Selenium: what is on the page, and what the browser did for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

from tests.interop.clients import find
from tests.service.twistd import until

#: No sandbox, as root has none in a container; nothing of the browser's own on the wire.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: Runs before any page: remembers the timers that wait for the next look.
_WATCH_TIMERS = """
const waiting = window.waitingLooks = new Set();
const [set, clear] = [window.setTimeout, window.clearTimeout];
window.setTimeout = (call, after, ...rest) => {
  const made = set((...given) => { waiting.delete(made); call(...given); }, after, ...rest);
  if (after === 1000) waiting.add(made);
  return made;
};
window.clearTimeout = (made) => { waiting.delete(made); clear(made); };
"""


class Page:
    """What a visitor sees and does."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH_TIMERS})

    def begin(self) -> None:
        """Forget what was."""
        self._driver.get("about:blank")
        self._driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        for kind in ("browser", "performance"):
            self._driver.get_log(kind)

    def open(self, url: str) -> None:
        self._driver.get(url)

    @property
    def title(self) -> str:
        return self._driver.title

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function's body returns in the page."""
        return self._driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any) -> Any:
        """What it returns, once that is true."""
        found: list[Any] = []

        def is_there() -> bool:
            found.append(self.run(script, *arguments))
            return bool(found[-1])

        until(is_there, f"{script} on a page of\n{self.text()}")
        return found[-1]

    def text(self) -> str:
        """All that can be seen."""
        return str(self.run("return document.body.innerText"))

    def is_seen(self, identity: str) -> bool:
        return bool(
            self.run("return document.getElementById(arguments[0]).checkVisibility()", identity)
        )

    def wait_until_seen(self, identity: str) -> None:
        until(lambda: self.is_seen(identity), f"{identity} on a page of\n{self.text()}")

    def rows(self, table: str) -> dict[str, list[str]]:
        """The cells of a table's rows, by the first of each."""
        cells = self.run(
            "return [...document.getElementById(arguments[0]).rows].map("
            "row => [...row.cells].map(cell => cell.textContent))",
            table,
        )
        return {row[0]: row for row in cells}

    def terms(self, identity: str) -> dict[str, str]:
        """A list of terms, each with its text."""
        pairs = self.run(
            "return [...document.getElementById(arguments[0]).querySelectorAll('dt')].map("
            "term => [term.textContent, term.nextElementSibling.textContent])",
            identity,
        )
        return dict(pairs)

    def choose(self, name: str) -> None:
        """Press an export's button, and wait for its map."""
        self.wait("return document.getElementById('exports').rows.length")
        self.run(
            "[...document.querySelectorAll('#exports button')]"
            ".find(one => one.textContent === arguments[0]).click()",
            name,
        )
        self.wait(
            "return document.getElementById('map').ariaLabel.startsWith("
            "`Disk map of ${arguments[0]},`)",
            name,
        )

    def fill(self, identity: str, value: str) -> None:
        """Type into a field, over what is there."""
        self.press(identity, Keys.CONTROL + "a" + Keys.NULL, value)

    def press(self, identity: str, *keys: str) -> None:
        """Keys, where the focus is put before."""
        self._driver.find_element("id", identity).send_keys(*keys)

    def complaints(self) -> list[str]:
        """What the console has, since the last time it was asked."""
        entries = self._driver.get_log("browser")
        # It has advice for tests that look at pixels.
        return [entry["message"] for entry in entries if entry["source"] != "rendering"]

    def requested(self) -> set[str]:
        """Every URL that was asked for, since the last time."""
        events = [json.loads(entry["message"]) for entry in self._driver.get_log("performance")]
        return {
            event["message"]["params"]["request"]["url"]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
        }

    def hide(self, hidden: bool) -> None:
        """As if another tab were looked at."""
        self.run(
            "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))",
            hidden,
        )

    def look_like(self, scheme: str, width: int, height: int) -> None:
        """Light or dark, on a screen of so many pixels."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self._driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )


@contextmanager
def opened(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile; skips without one, or fails where CI demands it."""
    options = ChromeOptions()
    options.binary_location = find("chromium")
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(find("chromedriver"), log_output=os.devnull)
    driver = Chrome(options=options, service=service)
    try:
        yield Page(driver)
    finally:
        driver.quit()
