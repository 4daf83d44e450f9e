"""The dashboard in a real browser, looking at a real gateway with real clients."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.page import Page
from tests.browser.served import HOSTILE, Served
from tests.interop.clients import Clients, find
from tests.interop.conftest import clients
from tests.interop.gateway import unused_port
from tests.service.conftest import directory, start
from tests.service.twistd import Twistd, until

__all__ = ["clients", "directory", "start"]

pytestmark = pytest.mark.interop

TOKEN = "0123456789abcdef0123456789abcdef"

LOCKED = """\
[listen:admin]
protocol = http
endpoint = tcp:{port}:interface=127.0.0.1
token_file = token

[export:vm]
provider = memory
size = 1M
"""

SHARED = """\
[gateway]
state_dir = state{n}

[listen:nbd]
endpoint = unix:nbd{n}.sock

[listen:admin]
protocol = http
endpoint = tcp:{port}:interface=127.0.0.1

[export:vm]
provider = directory
path = {directory}/objects
size = 64M
"""


def _number(text: str) -> float:
    return float(text.replace(",", "").removeprefix("$").split()[0])


def clients_of(page: Page) -> list[list[str]]:
    """Which export each client uses, and how."""
    return [row[1:3] for row in page.rows("clients").values()]


def test_numbers_appear_and_move_under_load(page: Page, served: Served) -> None:
    """Requests, rates, latencies and the client itself, while fio is at work."""
    page.open(served.url)
    page.wait_until_seen("numbers")
    # The page itself is one for a moment, when it asks for a map.
    until(lambda: page.terms("glance")["Clients"] == "0", "that nobody is there")
    assert set(page.rows("exports")) == {"plain", "files", "bucket", HOSTILE}
    page.choose("files")
    fio = subprocess.Popen(
        [
            *(find("fio"), "--name=load", "--ioengine=nbd", f"--uri={served.nbd('files')}"),
            *("--rw=randrw", "--bs=64k", "--size=48m", "--rate_iops=40", "--fsync=20"),
            *("--time_based", "--runtime=120", "--thread"),
        ],
        cwd=served.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: ["files", "NBD"] in clients_of(page), "fio among the clients")
        until(lambda: page.rows("exports")["files"][6] != "0", "requests per second")
        until(lambda: page.rows("exports")["files"][5] != "0 B", "bytes written per second")
        until(lambda: page.terms("glance")["Requests"] != "0/s", "requests per second of all")
        until(lambda: "ms" in page.rows("kinds").get("flush", [""] * 6)[5], "p99 of flushes")
        until(lambda: page.rows("kinds")["read"][4] not in ("", "–"), "the median of reads")
        before = _number(page.rows("kinds")["write"][1])
        until(lambda: _number(page.rows("kinds")["write"][1]) > before, "more writes")
        points = (
            "return document.querySelector('#requests-chart .write-line').getAttribute('points')"
        )
        page.wait(points)
    finally:
        fio.kill()
        fio.wait()
    until(lambda: not page.rows("clients"), "the client's leaving")
    assert page.rows("exports")["plain"][6] == "0"
    assert page.complaints() == []


def test_the_map_shows_what_was_written_and_zeroed(page: Page, served: Served) -> None:
    """It follows the disk; colors tell apart what words tell of each square."""
    uri = served.nbd("bucket")
    served.clients.qemu_io(uri, "write -P 1 32M 1M", "flush")
    page.open(served.url)
    page.choose("bucket")
    assert page.run("return document.getElementById('map-data').textContent") == "1 MiB"
    # A square is 64 KiB: the first of the data is number 512, eight rows of 64 down.
    page.look_like("light", 1280, 900)
    page.press("map", "\ue015" * 9)  # down: the first key leads to square 0
    square = "return document.getElementById('map-cell').textContent"
    assert page.run(square) == "33,554,432 to 33,619,968: 64 KiB data"
    data, hole = _color(page, 513), _color(page, 600)
    assert data != hole
    served.clients.qemu_io(uri, "write -P 2 40M 64k", "write -z -u 32M 512k", "flush")
    page.wait("return document.getElementById('map-data').textContent === '576 KiB'")
    assert _color(page, 640) == data
    assert _color(page, 513) == hole
    assert page.run(square).endswith("64 KiB hole")
    assert page.complaints() == []


def _color(page: Page, cell: int) -> list[int]:
    """Of the middle of a square, on a canvas of 64 columns."""
    found: list[int] = page.run(
        """
        const map = document.getElementById("map"), side = map.width / 64;
        const at = [(arguments[0] % 64 + 0.5) * side, (Math.floor(arguments[0] / 64) + 0.5) * side];
        return [...map.getContext("2d").getImageData(...at.map(Math.floor), 1, 1).data];
        """,
        cell,
    )
    return found


def test_requests_to_s3_cost_what_the_prices_say(page: Page, served: Served) -> None:
    """Only where they are paid for; prices are kept in the browser."""
    served.clients.qemu_io(served.nbd("bucket"), "write -P 3 0 64k", "flush")
    page.open(served.url)
    page.wait_until_seen("store")
    until(lambda: _number(page.rows("stores")["bucket"][1]) > 0, "puts")
    assert page.rows("stores")["files"][9] == "free"
    page.fill("price-put", "1000000")
    page.fill("price-get", "0")
    row = page.rows("stores")["bucket"]
    until(
        lambda: _is_sum(page.rows("stores")["bucket"]), f"a dollar for each PUT and LIST in {row}"
    )
    assert page.terms("glance")["S3 requests so far"] == page.rows("stores")["bucket"][9]
    page.open(served.url)
    page.wait_until_seen("store")
    assert page.run("return document.getElementById('price-put').value") == "1000000"
    page.run("document.getElementById('price-default').click()")
    assert page.run("return document.getElementById('price-put').value") == "5"
    assert _number(page.rows("stores")["bucket"][9].removeprefix("< ")) < 1


def _is_sum(row: list[str]) -> bool:
    return _number(row[9]) == _number(row[1]) + _number(row[2])


def test_names_are_text_and_nothing_else(page: Page, served: Served) -> None:
    """An export called like an element with a script makes none."""
    page.open(served.url)
    page.choose(HOSTILE)
    assert page.run("return document.getElementById('chosen-title').textContent") == HOSTILE
    assert page.run("return document.getElementById('chosen-description').textContent") == HOSTILE
    assert page.run("return document.querySelectorAll('main img').length") == 0
    assert page.title == "nbdgateway"
    assert page.complaints() == []


def test_nothing_is_asked_of_anybody_else(page: Page, served: Served) -> None:
    """The page works where there is no other network."""
    page.open(served.url)
    page.choose("plain")
    asked = page.requested()
    assert served.url in asked
    assert f"{served.url}v1/summary" in asked
    assert {url for url in asked if not url.startswith(served.url)} == set()


def test_nothing_is_asked_while_nobody_looks(page: Page, served: Served) -> None:
    """No timer is left in a hidden tab; it goes on when it is seen again."""
    page.open(served.url)
    page.wait_until_seen("numbers")
    page.wait("return waitingLooks.size === 1")
    page.hide(True)
    assert page.run("return waitingLooks.size") == 0
    page.run("performance.clearResourceTimings()")
    page.hide(False)
    page.wait("return performance.getEntriesByType('resource').length >= 4")
    page.wait("return waitingLooks.size === 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    page: Page, served: Served, scheme: str
) -> None:
    """Wide tables scroll by themselves; text stands out from what is behind it."""
    page.look_like(scheme, 360, 740)
    page.open(served.url)
    page.choose("files")
    assert page.run("return document.documentElement.scrollWidth") <= 360
    contrast = """
        const light = (color) => {
          const part = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
          const [r, g, b] = color.match(/[\\d.]+/g).map((x) => part(x / 255));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const back = (element) => {
          const color = getComputedStyle(element).backgroundColor;
          return color.startsWith("rgba(0, 0, 0, 0") ? back(element.parentElement) : color;
        };
        return Math.min(...[...document.querySelectorAll("main *, header *")]
          .filter((one) => one.checkVisibility() && one.children.length === 0 && one.textContent)
          .map((one) => [light(getComputedStyle(one).color), light(back(one))])
          .map(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)));
    """
    # What WCAG wants for small text.
    assert page.run(contrast) >= 4.5


def test_what_is_there_has_names_for_screen_readers(page: Page, served: Served) -> None:
    """Every field a label, every column a header, every picture words."""
    page.open(served.url)
    page.choose("files")
    assert page.run(
        "return [...document.querySelectorAll('input')].every(one => one.labels.length)"
    )
    assert page.run("return [...document.querySelectorAll('thead th')].every(one => one.scope)")
    assert page.run("return [...document.querySelectorAll('tbody th')].every(one => one.scope)")
    label = page.run("return document.getElementById('map').ariaLabel")
    assert label.startswith("Disk map of files, 64 MiB: ")
    for live, role in (("state", "status"), ("silence", "alert"), ("reasons", "alert")):
        assert page.run("return document.getElementById(arguments[0]).role", live) == role


def test_a_gateway_that_stops_is_told_and_its_return_as_well(
    page: Page, directory: Path, start: Callable[..., Twistd]
) -> None:
    """Old numbers stay, and look old."""
    port = unused_port()
    text = LOCKED.format(port=port).replace("token_file = token\n", "")
    (directory / "gw.ini").write_text(text)
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export vm is open")
    page.open(f"http://127.0.0.1:{port}/")
    page.wait("return document.getElementById('state').textContent === 'ready'")
    assert not page.is_seen("silence")
    gateway.stop()
    page.wait_until_seen("silence")
    assert "has not answered since" in page.text()
    assert page.run("return document.getElementById('state').textContent") == "no answer"
    assert page.run("return document.getElementById('numbers').className") == "old"
    assert "vm" in page.rows("exports")
    start("--config", "gw.ini").wait_for("export vm is open")
    page.wait("return document.getElementById('state').textContent === 'ready'")
    assert not page.is_seen("silence")
    assert page.run("return document.getElementById('numbers').className") == ""


def test_a_volume_that_was_taken_over_is_told_in_plain_words(
    page: Page, directory: Path, start: Callable[..., Twistd], clients: Clients
) -> None:
    """The other gateway's page has nothing to complain about."""
    port, other = unused_port(), unused_port()
    (directory / "gw.ini").write_text(SHARED.format(port=port, directory=directory, n=1))
    (directory / "other.ini").write_text(SHARED.format(port=other, directory=directory, n=2))
    start("--config", "gw.ini").wait_for("export vm is open")
    page.open(f"http://127.0.0.1:{port}/")
    page.wait("return document.getElementById('state').textContent === 'ready'")
    assert not page.is_seen("trouble")
    second = Twistd(directory, "--config", "other.ini")
    try:
        second.wait_for("export vm is open")
        uri = f"nbd+unix:///vm?socket={directory}/nbd1.sock"
        clients.attempt("qemu-io", "-f", "raw", "-c", "write 0 64k", "-c", "flush", uri)
        page.wait_until_seen("trouble")
        assert "vm: fenced. Another gateway has taken the volume over" in page.text()
        assert page.rows("exports")["vm"][1] == "fenced"
        assert page.run("return document.getElementById('state').textContent") == "not ready"
        page.open(f"http://127.0.0.1:{other}/")
        page.wait("return document.getElementById('state').textContent === 'ready'")
        assert not page.is_seen("trouble")
    finally:
        second.stop()


def test_a_token_is_asked_for_once_and_kept_in_the_tab(
    page: Page, directory: Path, start: Callable[..., Twistd]
) -> None:
    """A wrong one is refused; nothing of the gateway is seen before."""
    port = unused_port()
    (directory / "gw.ini").write_text(LOCKED.format(port=port))
    (directory / "token").write_text(TOKEN)
    (directory / "token").chmod(0o600)
    start("--config", "gw.ini").wait_for("export vm is open")
    page.open(f"http://127.0.0.1:{port}/")
    page.wait_until_seen("token-form")
    assert not page.is_seen("numbers")
    assert "vm" not in page.text().split()
    page.fill("token", "wrong\n")
    page.wait("return document.getElementById('token-problem').textContent.includes('not take')")
    assert not page.is_seen("numbers")
    page.fill("token", f"{TOKEN}\n")
    page.wait_until_seen("numbers")
    page.choose("vm")
    assert not page.is_seen("token-form")
    page.open(f"http://127.0.0.1:{port}/")
    page.wait_until_seen("numbers")
    assert not page.is_seen("token-form")
    stored = "return [Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
    assert page.run(stored) == [[TOKEN], [], ""]
    assert not any(TOKEN in url for url in page.requested())
    # The browser itself says where it was told 401.
    assert all("401" in complaint for complaint in page.complaints())
