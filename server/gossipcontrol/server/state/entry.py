"""Entries of the log, and their text: versioned by the schema, explicit, never code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gossipcontrol.server.core import event as events
from gossipcontrol.server.core.codec import CodecError, Plain, decode, decode_fields, encode_fields
from gossipcontrol.server.core.deciding.recorded_reads import RecordedRead
from gossipcontrol.server.core.event import Event

LOGGED: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.RejoinRequested,
        events.NetworkChanged,
        events.NodeAttached,
        events.NodeDetached,
        events.RejoinFinished,
        events.TimePassed,
        events.StartDelayed,
        events.StoreSeen,
        events.RejoinProved,
        events.AdviceOutdated,
        events.SuspicionEnded,
        events.ServiceStarted,
    )
}
"""What may stand in the log."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact, the service time at which the core took it, and what liveness said meanwhile."""

    at: float
    event: Event
    said: Sequence[RecordedRead] = ()


@dataclass(frozen=True, slots=True)
class KnowledgeEntry:
    """One fact of knowledge, as bytes already: a batch of intentions is one of them."""

    at: float
    store_id: str
    kind: str
    """The event's class, for people who look into the file."""
    body: bytes


def write_entry(entry: Entry) -> tuple[float, str, str, str]:
    """Instant, kind, fields, answers."""
    fields = json.dumps(encode_fields(entry.event), separators=(",", ":"))
    return entry.at, type(entry.event).__name__, fields, json.dumps(entry.said) if entry.said else "[]"


def read_entry(at: float, kind: str, fields: str, said: str) -> Entry:
    """The entry; raises CodecError."""
    if kind not in LOGGED:
        raise CodecError(f"{kind} is no event that is logged: was this written by a newer version?")
    plain: Plain = json.loads(fields)
    event: Event = LOGGED[kind](**decode_fields(plain, LOGGED[kind]))
    return Entry(at, event, decode(json.loads(said), tuple[RecordedRead, ...]))
