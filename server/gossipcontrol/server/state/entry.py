"""Entries of the log, and their text: versioned by the schema, explicit, never code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gossipcontrol.server.core import event as events
from gossipcontrol.server.core.codec import CodecError, Plain, decode, decode_fields, encode_fields
from gossipcontrol.server.core.deciding.recorded_reads import RecordedRead
from gossipcontrol.server.core.event import DecidingEvent
from gossipcontrol.server.core.turn import Fact

LOGGED: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.RejoinRequested,
        events.NetworkChanged,
        events.NodeAttached,
        events.NodeDetached,
        events.RejoinFinished,
        events.RestartFinished,
        events.TimePassed,
        events.StartDelayed,
        events.StoreSeen,
        events.RejoinProved,
        events.AddressesProved,
        events.AdviceOutdated,
        events.SuspicionEnded,
        events.ServiceStarted,
        events.OwnerChanged,
    )
}
"""What may stand in the log."""


_write_fields = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_write_reads = json.JSONEncoder(check_circular=False).encode
"""Made once, and without a search for circles, of which plain values have none."""


@dataclass(frozen=True, slots=True)
class KnowledgeEntry:
    """One fact of knowledge, as bytes already: a batch of intentions is one of them."""

    at: float
    store_id: str
    kind: str
    """The event's class, for people who look into the file."""
    body: bytes


def write_entry(fact: Fact) -> tuple[float, str, str, str]:
    """Instant, kind, fields, recorded reads."""
    fields = _write_fields(encode_fields(fact.event))
    return float(fact.at), type(fact.event).__name__, fields, _write_reads(fact.reads) if fact.reads else "[]"


def read_entry(at: float, kind: str, fields: str, reads: str) -> Fact:
    """The fact; raises CodecError."""
    return read_plain(at, kind, json.loads(fields), json.loads(reads))


def read_plain(at: float, kind: str, fields: Plain, reads: Plain) -> Fact:
    """The fact from JSON that is parsed already; raises CodecError."""
    if kind not in LOGGED:
        raise CodecError(f"{kind} is no event that is logged: was this written by a newer version?")
    event: DecidingEvent = LOGGED[kind](**decode_fields(fields, LOGGED[kind]))
    return Fact(at, event, decode(reads, tuple[RecordedRead, ...]))
