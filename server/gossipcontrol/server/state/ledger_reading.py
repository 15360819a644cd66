"""What a new owner finds in a ledger: the snapshots, and the log after them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from gossipcontrol.server.core.codec import CodecError
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import Loaded, LoadedKnowledge, StateError
from gossipcontrol.server.state.ledger import Ledger
from gossipcontrol.server.state.ledger_entry import Batch, BatchReader, unpack_batch
from gossipcontrol.server.state.ledger_manifest import REGISTER, Manifest, Stored, read_manifest

READ_TRIES = 5
"""Readings until it is believed that something is missing: an older owner may cut the log meanwhile."""


class Found(NamedTuple):
    """What was read."""

    loaded: Loaded
    manifest: Manifest
    revision: int
    """Of the manifest's register."""
    number: int
    """The largest number of a fact or snapshot."""
    entries: int
    """Facts after the snapshots."""
    log_bytes: int
    """Of the log after the snapshots."""


class MissingError(Exception):
    """A chunk or an entry is not there."""


async def read_ledger(ledger: Ledger, last: int) -> Found:
    """Read everything up to this entry; raises StateError, Late."""
    why: Exception | None = None
    for _ in range(READ_TRIES):
        try:
            return await _read(ledger, last)
        except MissingError as error:
            why = error
        except (CodecError, ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
            raise _damaged(error) from error
    raise _damaged(why)


def _damaged(error: Exception | None) -> StateError:
    return StateError(f"the state in etcd cannot be used: {error}. Choose another etcd.cell to start with an empty one")


async def _read(ledger: Ledger, last: int) -> Found:
    register = await ledger.register(REGISTER)
    manifest = read_manifest(register.value)
    packed = await _chunks(ledger, manifest.deciding)
    stores = {store_id: await _chunks(ledger, one) for store_id, one in manifest.stores.items()}
    batches, log_bytes = await _read_log(ledger, manifest.seq + 1, last)
    if tail := await _chunks(ledger, manifest.tail):
        batches.insert(0, unpack_batch(tail))
    facts: list[Fact] = []
    knowledge: dict[int, KnowledgeEntry] = {}  # a fact may stand in the tail and in the log
    clock = manifest.clock
    for batch in batches:
        clock = batch.clock or clock
        for number, one in batch.entries:
            if isinstance(one, Fact):
                facts += [one] if number >= manifest.deciding.number else []
            elif one.store_id not in manifest.stores or number >= manifest.stores[one.store_id].number:
                knowledge[number] = one
    snapshot = json.loads(zlib.decompress(packed)) if packed else None
    loaded = Loaded(
        snapshot,
        facts,
        _last_at(manifest, batches),
        LoadedKnowledge(manifest.shared, manifest.shared_number, stores, sorted(knowledge.items())),
        clock,
    )
    return Found(
        loaded, manifest, register.revision, _last_number(manifest, batches), len(facts) + len(knowledge), log_bytes
    )


async def _read_log(ledger: Ledger, start: int, last: int) -> tuple[list[Batch], int]:
    batches: list[Batch] = []
    reader, expected, log_bytes = BatchReader(), start, 0
    async for seq, entry in ledger.read(start):
        if seq > last:
            break
        if seq != expected:
            raise MissingError(f"entry {expected} of the log is missing")
        expected, log_bytes = expected + 1, log_bytes + len(entry)
        batch = reader.take(entry)
        batches += [batch] if batch is not None else []
    if expected != last + 1:
        raise MissingError(f"entry {expected} of the log is missing")
    return batches, log_bytes


async def _chunks(ledger: Ledger, stored: Stored) -> bytes:
    if not stored.name:
        return b""
    found = [one async for one in ledger.chunks(stored.name)]
    if len(found) != stored.chunks or sum(map(len, found)) != stored.size:
        raise MissingError(f"a chunk of snapshot {stored.name} is missing")
    return b"".join(found)


def _snapshots(manifest: Manifest) -> Iterable[Stored]:
    return manifest.deciding, *manifest.stores.values()


def _last_at(manifest: Manifest, batches: Iterable[Batch]) -> float:
    instants = [one.at for batch in batches for _, one in batch.entries]
    return max([0.0, *(one.at for one in _snapshots(manifest)), *instants])


def _last_number(manifest: Manifest, batches: Iterable[Batch]) -> int:
    numbers = [number for batch in batches for number, _ in batch.entries]
    return max([0, manifest.shared_number, *(one.number for one in _snapshots(manifest)), *numbers])
