"""The handshake with a whole server: what real exports make of it (H rows)."""

from __future__ import annotations

import struct

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock

from tests.conftest import LoggedFailures
from tests.protocol.exports import LISTED, SIZE
from tests.protocol.in_memory import MemoryTransport
from tests.protocol.servers import InMemory, Process, fresh
from tests.wire_format import (
    ABORT,
    EXPORT_NAME,
    GO,
    INFO,
    INVALID,
    LIST,
    POLICY,
    SHUTDOWN,
    STARTTLS,
    STRUCTURED_REPLY,
    UNKNOWN,
    UNSUP,
    compact,
    info_data,
    option,
)

Server = InMemory | Process


def test_list_names_every_export_with_its_description(server: Server) -> None:
    """
    H24, H25: LIST as often as it is asked; names in UTF-8.
    """
    client = server.connect().greet()
    listed = {name: text for name, text in LISTED.items() if name != "tls-only"}
    assert client.exports() == client.exports() == listed


def test_export_name_serves(server: Server) -> None:
    """
    H3, H20: the oldest way in, with and without padding, to a named and to the default export.
    """
    for flags, name in [(3, fresh("disk")), (1, fresh("disk")), (0, fresh("disk")), (0, "")]:
        client = server.connect().greet(flags).export_name(name, no_zeroes=bool(flags & 2))
        assert client.size == SIZE
        assert client.read(0, 512) == bytes(512)
        client.disconnect()


def test_go_without_items_serves(server: Server) -> None:
    """
    H28, H42: as the Linux client asks: GO without information requests, simple replies.
    """
    client = server.connect().greet()
    replies = client.info(GO, fresh("disk"))
    assert set(replies) == {0, 3}
    client.write(512, b"x" * 512)
    assert client.read(0, 1536) == bytes(512) + b"x" * 512 + bytes(512)


@pytest.mark.parametrize("number", [INFO, GO])
def test_every_information_item(server: Server, number: int) -> None:
    """
    H29, H36-H40: all items in any order, twice or unknown; EXPORT and BLOCK_SIZE always.
    """
    client = server.connect().greet()
    replies = client.info(number, "größe", 3, 1, 99, 2, 0, 0, 65535)
    assert set(replies) == {0, 1, 2, 3}
    assert replies[1].decode() == "größe"
    assert replies[2].decode() == LISTED["größe"]
    assert struct.unpack(">III", replies[3]) == (1, 4096, 32 << 20)


def test_canonical_name_of_the_default(server: Server) -> None:
    """
    H26, H37: the default export has a name, which NAME tells.
    """
    assert server.connect().greet().info(INFO, "", 1)[1] == b"disk"


def test_block_sizes_are_the_exports(server: Server) -> None:
    """
    H39-H42: minimum and preferred come from storage; a minimum is a promise of both sides.
    """
    client = server.connect().greet()
    assert struct.unpack(">II", client.info(INFO, "aligned")[3][:8]) == (4096, 4096)
    assert struct.unpack(">II", client.info(INFO, "coarse")[3][:8]) == (1, 65536)


def test_largest_export_keeps_its_size(server: Server) -> None:
    """
    H36: sizes up to 2^63 - 1 are told as they are.
    """
    assert server.client("extended", "huge").size == 2**63 - 512


def test_info_then_go_say_the_same(server: Server, framing: str) -> None:
    """
    H31, B10: any number of INFOs, also of other exports, and then GO.
    """
    client = server.connect().greet().agree(framing)
    name = fresh("disk")
    first = client.info(INFO, name, 1, 2, 3)
    assert client.info(INFO, "read-only", 3) != first
    assert client.error(INFO, info_data("nothing")) == UNKNOWN
    assert client.info(INFO, name, 1, 2, 3) == first
    assert client.info(GO, name, 1, 2, 3) == first
    assert client.read(0, 10) == bytes(10)


@pytest.mark.parametrize("number", [INFO, GO])
@pytest.mark.parametrize("name", ["nothing", "disk/", "Disk", " disk", "x" * 4096, "../disk", "\n"])
def test_unknown_export_leaves_the_client_in_haggling(
    server: Server, number: int, name: str
) -> None:
    """
    H13, H30, B4, B5, B37: ERR_UNKNOWN alone, names compared exactly; a later GO succeeds.
    """
    client = server.connect().greet()
    replies = client.option(number, info_data(name))
    assert [kind for kind, _ in replies] == [UNKNOWN]
    assert len(replies[0][1]) < 300
    assert replies[0][1].decode().isprintable()
    assert client.go(fresh("disk")).read(0, 1) == b"\0"


def test_export_that_cannot_be_opened_is_unknown_and_the_reason_stays_here(server: Server) -> None:
    """
    H32: storage that is away costs the client an error, not its connection.
    """
    client = server.connect().greet()
    ((kind, text),) = client.option(GO, info_data("unavailable"))
    assert kind == UNKNOWN
    assert b"cannot be opened" in text
    assert b"unplugged" not in text, "the reason may name files and hosts"
    assert client.go(fresh("disk")).read(0, 1) == b"\0"


def test_export_that_opens_later(server: Server, framing: str) -> None:
    """
    H15, H32: the answer waits for storage; what was sent meanwhile is served after it.
    """
    client = server.connect().greet().agree(framing)
    name = fresh("opens-later")
    client.send_option(GO, info_data(name))
    if framing == "simple":
        client.connection.send(compact(0, 0, 16, cookie=5))
    assert client.option_replies()[-1][0] == 1
    if framing == "simple":
        client.remember(0, 0, 16, cookie=5)
        assert client.answer().data == bytes(16)
    assert client.read(0, 4) == bytes(4)


@pytest.mark.parametrize("cut", [1, 3, 4, 11, 19, 20, 30, 37])
def test_clients_that_leave_mid_handshake_hurt_nobody(server: Server, cut: int) -> None:
    """
    H8, B7: EOF at any byte of the handshake.
    """
    data = struct.pack(">I", 3) + option(STRUCTURED_REPLY) + option(GO, info_data("disk"))
    other = server.client("simple", "disk")
    client = server.connect()
    client.connection.send(data[:cut])
    client.connection.close()
    assert other.read(0, 512) == bytes(512)


def test_pipelined_options_are_answered_in_order(server: Server) -> None:
    """
    H15: a client that does not wait gets every answer in turn.
    """
    client = server.connect().greet()
    client.connection.send(
        option(STRUCTURED_REPLY) + option(99, bytes(999)) + option(LIST) + option(ABORT)
    )
    client._options += [STRUCTURED_REPLY, 99, LIST, ABORT]
    answers = [client.option_replies()[-1][0] for _ in range(4)]
    assert answers == [1, UNSUP, 1, 1]
    client.expect_end()


def test_abort_is_acknowledged_and_the_connection_closed(server: Server) -> None:
    """
    H23: the ACK arrives, then the end of the stream.
    """
    client = server.connect().greet()
    client.ack(ABORT, b"good bye")
    client.expect_end()


def test_abort_whose_answer_nobody_reads(server: Server) -> None:
    """
    H23: clients that send ABORT and close without reading are not an error.
    """
    client = server.connect().greet()
    client.connection.send(option(ABORT))
    client.connection.close()
    assert server.client("simple", "disk").read(0, 1) == b"\0"


def test_tls_where_there_is_none(server: Server) -> None:
    """
    T1: STARTTLS is a policy matter; an export for TLS only does not exist here.
    """
    client = server.connect().greet()
    assert client.error(STARTTLS) == POLICY
    assert client.error(STARTTLS, b"x") == INVALID
    assert client.error(GO, info_data("tls-only")) == UNKNOWN
    assert client.error(99) == UNSUP
    client.connection.send(option(EXPORT_NAME, b"tls-only"))
    client.expect_end()


def test_extended_headers_with_or_without_structured_replies(server: Server) -> None:
    """
    H35: either way; extended headers win.
    """
    for before in (False, True):
        client = server.connect().greet()
        if before:
            client.ack(STRUCTURED_REPLY)
        client.agree("extended").go(fresh("disk"))
        assert client.read(0, 100_000) == bytes(100_000)


@pytest.mark.parametrize("flags", [4, 0x80000000])
def test_unknown_client_flags_end_the_connection(server: Server, flags: int) -> None:
    """
    H2, B27.
    """
    client = server.connect().greet(flags)
    client.expect_end()


def test_wrong_option_magic_ends_the_connection(server: Server) -> None:
    """
    H6: no reply to a stream that is out of step.
    """
    client = server.connect().greet()
    client.connection.send(b"IHAVENOT" + struct.pack(">II", LIST, 0))
    client.expect_end()


def test_tcp_connections_are_prompt_and_watched(memory: InMemory) -> None:
    """
    H7: TCP_NODELAY and keepalive are switched on where the transport has them.
    """

    class TcpTransport(MemoryTransport):
        def setTcpNoDelay(self, enabled: bool) -> None:
            asked.append(("no delay", enabled))

        def setTcpKeepAlive(self, enabled: bool) -> None:
            asked.append(("keep alive", enabled))

    asked: list[tuple[str, bool]] = []
    protocol = memory.factory.buildProtocol(UNIXAddress(None))
    assert protocol is not None
    protocol.makeConnection(TcpTransport())  # type: ignore[arg-type]
    assert asked == [("no delay", True), ("keep alive", True)]


def test_tcp_serves(process: Process, framing: str) -> None:
    """
    H7: the same server over TCP, small requests one after another and long ones.
    """
    client = process.connect_tcp().greet().agree(framing).go(fresh("disk"))
    for number in range(200):
        client.write(number, b"x")
    assert client.read(0, SIZE) == b"x" * 200 + bytes(SIZE - 200)
    client.disconnect()


def test_silent_client_is_dropped_in_time(memory: InMemory) -> None:
    """
    H9, B8: 10 seconds from accept to the end of haggling, whatever came in between.
    """
    client = memory.connect().greet()
    client.ack(STRUCTURED_REPLY)
    memory.clock.advance(9.9)
    assert client.error(99) == UNSUP
    memory.clock.advance(0.2)
    client.expect_end()
    assert client.connection.transport.aborted
    assert not memory.factory.connections


def test_transmission_has_no_timeout(memory: InMemory, framing: str) -> None:
    """
    C15: a client in transmission may be silent for a week.
    """
    client = memory.client(framing, "disk")
    memory.clock.advance(7 * 86400)
    assert client.read(0, 1) == b"\0"
    assert memory.clock.getDelayedCalls() == []


def test_too_many_connections_are_turned_away(logged_failures: LoggedFailures) -> None:
    """
    B8: the limit of a listener; a place that becomes free is given to the next.
    """
    server = InMemory(logged_failures, max_connections=2)
    first, second = server.client("simple", "disk"), server.connect().greet()
    third = server.connect()
    third.expect_end()
    second.connection.close()
    server.connect().greet().go("disk").read(0, 1)
    assert first.read(0, 1) == b"\0"


def test_no_export_is_opened_before_it_is_named(memory: InMemory) -> None:
    """
    H9, B9: connecting, listing and haggling touch no storage; and what is opened is released.
    """
    offer = memory.source.offer("disk")
    client = memory.connect().greet()
    client.exports()
    client.agree("extended")
    assert offer.opened == 0
    client.go("disk")
    assert (offer.opened, offer.users) == (1, 1)
    client.disconnect()
    assert offer.users == 0


def test_exports_looked_at_are_released_with_the_connection(memory: InMemory) -> None:
    """
    H31: each INFO opens at most once per connection; all is given back at its end.
    """
    offers = [memory.source.offer(name) for name in ("disk", "read-only")]
    client = memory.connect().greet()
    for _ in range(3):
        client.info(INFO, "disk")
        client.info(INFO, "read-only")
    client.go("disk")
    assert [offer.opened for offer in offers] == [1, 1]
    client.connection.close()
    assert [offer.users for offer in offers] == [0, 0]


def test_export_that_opens_after_its_client_has_left_is_released(memory: InMemory) -> None:
    """
    H9, B31: an opening that comes too late is nobody's.
    """
    offer = memory.source.offer("opens-later")
    client = memory.connect().greet()
    client.send_option(GO, info_data("opens-later"))
    client.connection.close()
    memory.clock.advance(1)
    assert (offer.opened, offer.users) == (1, 0)


def test_slow_opening_counts_against_the_handshake(memory: InMemory) -> None:
    """
    H9: storage that never answers does not keep a client past the timeout.
    """
    client = memory.connect().greet()
    client.send_option(GO, info_data("never-opens"))
    memory.clock.advance(10)
    client.expect_end()


def test_option_at_shutdown(memory: InMemory) -> None:
    """
    H17: a client in haggling is told that the server is going.
    """
    client = memory.connect().greet()
    memory.factory.shut_down()
    assert client.error(LIST) == SHUTDOWN
    assert client.error(GO, info_data("disk")) == SHUTDOWN
    late = memory.connect().greet()
    assert late.error(99) == SHUTDOWN
    late.ack(ABORT)
    late.expect_end()


def test_greeting_needs_no_time(memory: InMemory) -> None:
    """
    H1: the greeting is written in the turn of the accept.
    """
    assert isinstance(memory.clock, Clock)
    assert memory.connect().connection.transport.unread == b"NBDMAGICIHAVEOPT\0\3"
