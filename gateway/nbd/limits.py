"""Bounds on what one client may cost, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.info import KIB, MIB

#: Bytes. The protocol's limit on every string.
MAX_STRING = 4 * KIB

#: Bytes of option data that are parsed. The largest legal INFO or GO is
#: 135,172; SET_META_CONTEXT has no natural bound.
OPTION_PARSE_MAX = MIB

#: Bytes of option data that are read and discarded so that the client gets an
#: error; above, the connection is dropped as an attack (CVE-2017-15119).
OPTION_DRAIN_MAX = 32 * MIB

#: Bytes. The payload limit every client assumes; advertised exactly.
MAX_PAYLOAD = 32 * MIB

#: Bytes. libnbd can send this much in one WRITE; it is read and discarded so
#: that the client gets an error. Above, the connection is dropped.
WRITE_DRAIN_MAX = 64 * MIB

#: Descriptors in one block status reply, shared among its contexts: bounds
#: what a small request fetches, and the milliseconds in which nobody else is
#: served.
EXTENT_CAP = 1 << 14

#: Queries in one metadata context option.
MAX_QUERIES = 1024

#: Metadata contexts in one answer to LIST_META_CONTEXT. Names of snapshots
#: grow in number as nothing else does; those beyond can still be selected.
MAX_CONTEXTS_LISTED = 1024

#: Metadata contexts that one connection may select: storage is asked for each
#: of them whenever a client sends 28 bytes.
MAX_CONTEXTS_SELECTED = 64

#: Bytes. Payloads up to this size are parsed out of the receive buffer;
#: larger ones are received straight into their own.
SMALL_PAYLOAD = 64 * KIB

#: Bytes. A chunk of a long structured READ: what is read, sent and held at once.
READ_CHUNK = 256 * KIB

#: Bytes of payloads that all connections together may hold: keeps the process
#: under 100 MB with 64 clients that write 1 MiB at a time.
PAYLOAD_MEMORY = 16 * MIB

#: Bytes. While that much is held, one connection begins no further request
#: once it has this many in flight: one short payload, so that none comes to a
#: halt.
FEW_IN_FLIGHT = SMALL_PAYLOAD


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Bounds that an operator may change.

    Attributes:
        handshake_timeout: seconds from accept to the end of negotiation, TLS
            included (CVE-2024-7409). Transmission has no idle timeout: disks
            of sleeping machines are silent for days.
        max_options: options per connection; listing allows 32 more for each
            export listed, as ``--list`` tools ask for details.
        max_in_flight: requests waiting for storage, per connection; reading
            stops at it.
        max_in_flight_bytes: payload of those requests and of replies not
            taken by the client, per connection. One larger request is
            admitted when nothing else is waiting.
        max_connections: per listener; more are closed at once.
        shutdown_timeout: seconds for answering what is in flight at shutdown.
        disconnect_grace: seconds in which idle clients may say goodbye then.
    """

    handshake_timeout: float = 10.0
    max_options: int = 64
    max_in_flight: int = 64
    max_in_flight_bytes: int = 32 * MIB
    max_connections: int = 1024
    shutdown_timeout: float = 30.0
    disconnect_grace: float = 1.0
