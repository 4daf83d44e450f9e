"""What a handshake asks of its embedder, one class per event."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.nbd.terms import Terms


@dataclass(frozen=True, slots=True)
class ExportWanted:
    """The client named an export that must be looked up and opened."""

    name: str


@dataclass(frozen=True, slots=True)
class ListWanted:
    """The client asks which exports there are."""


@dataclass(frozen=True, slots=True)
class StartTLS:
    """The acknowledgement is in `data_to_send`; TLS follows it."""


@dataclass(frozen=True, slots=True)
class TransmissionBegins:
    """Haggling ended; ``name`` is the canonical name of the export chosen."""

    name: str
    terms: Terms


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection must end without another word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """The client said goodbye."""


Event = ExportWanted | ListWanted | StartTLS | TransmissionBegins | Drop | Close
