"""Which snapshots stand for the beginning of a ledger's log: one register names them all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import ClockReading

FORMAT = 1
"""Of the manifest."""
REGISTER = "snapshot"
"""Name of its register."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One snapshot, in chunks of this name."""

    name: str = ""
    """Empty: there is none."""
    chunks: int = 0
    size: int = 0
    """Bytes."""
    number: int = 0
    """It covers the facts with smaller numbers."""
    at: float = 0.0
    """Service time of what it holds."""

    @property
    def epoch(self) -> int:
        """The owner that wrote it; 0: there is none."""
        return epoch_of(self.name) if self.name else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The snapshots that are valid, and up to which entry of the log they cover everything."""

    epoch: int = 0
    """Of the owner that wrote it."""
    seq: int = 0
    """Last entry of the log that is not needed any more."""
    deciding: Stored = field(default_factory=Stored)
    tail: Stored = field(default_factory=Stored)
    """Facts of knowledge up to ``seq`` that no snapshot of a store covers, as one entry of the log."""
    stores: Mapping[str, Stored] = field(default_factory=dict[str, Stored])
    shared: Plain = None
    """What all stores share."""
    shared_number: int = 0
    clock: ClockReading | None = None

    def names(self) -> set[str]:
        """The names of all chunks that are needed."""
        return {one.name for one in (self.deciding, self.tail, *self.stores.values()) if one.name}


def epoch_of(name: str) -> int:
    """The owner that writes, or wrote, chunks of this name."""
    return int(name.partition("-")[0])


def covered(manifest: Manifest, store_id: str) -> int:
    """The number from which on facts of a store are in no snapshot of it."""
    return manifest.stores[store_id].number if store_id in manifest.stores else 0


def is_uncovered(manifest: Manifest, number: int, entry: Fact | KnowledgeEntry) -> bool:
    """Whether no snapshot holds this entry of the log."""
    return number >= (manifest.deciding.number if isinstance(entry, Fact) else covered(manifest, entry.store_id))


def write_manifest(manifest: Manifest) -> bytes:
    """Its bytes."""
    return zlib.compress(json.dumps({"format": FORMAT, **asdict(manifest)}, separators=(",", ":")).encode())


def read_manifest(body: bytes) -> Manifest:
    """The manifest, also of a register that was never written; raises ValueError, TypeError, KeyError, zlib.error."""
    if not body:
        return Manifest()
    plain: dict[str, Any] = json.loads(zlib.decompress(body))
    if (form := plain.pop("format")) != FORMAT:
        raise ValueError(f"the register of snapshots has format {form}: was it written by a newer version?")
    stores = {store_id: Stored(**one) for store_id, one in plain.pop("stores").items()}
    clock, deciding, tail = (plain.pop(name) for name in ("clock", "deciding", "tail"))
    return Manifest(
        **plain,
        deciding=Stored(**deciding),
        tail=Stored(**tail),
        stores=stores,
        clock=ClockReading(**clock) if clock else None,
    )
