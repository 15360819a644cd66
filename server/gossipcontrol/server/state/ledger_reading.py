"""What a new owner finds in a ledger: the snapshots, and the log after them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from gossipcontrol.server.core.codec import CodecError
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import Loaded, LoadedKnowledge, StateError
from gossipcontrol.server.state.ledger import Ledger
from gossipcontrol.server.state.ledger_entry import Batch, BatchReader, unpack_batch
from gossipcontrol.server.state.ledger_manifest import REGISTER, Manifest, Stored, is_uncovered, read_manifest

T = TypeVar("T")
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


class Entry(NamedTuple):
    """One entry of the log that ends a batch."""

    seq: int
    size: int
    """Bytes of it and of those before that hold the batch with it."""
    batch: Batch


class Parts(NamedTuple):
    """The same as it stands in the ledger."""

    manifest: Manifest
    revision: int
    packed: bytes
    """The snapshot of deciding; empty: there is none."""
    stores: Mapping[str, bytes]
    tail: Batch | None
    log: Sequence[Entry]
    reader: BatchReader
    """Goes on with the entries that come later."""
    last: int
    """Up to which entry it was read."""


async def read_ledger(ledger: Ledger, last: int) -> Found:
    """Read everything up to this entry; raises StateError, Late."""
    return await _in_some_tries(lambda: _read(ledger, last))


async def read_parts(ledger: Ledger) -> Parts:
    """Read everything up to the last entry; raises StateError, Late."""

    async def read() -> Parts:
        return await _read_parts(ledger, await ledger.last())

    return await _in_some_tries(read)


async def _in_some_tries(read: Callable[[], Awaitable[T]]) -> T:
    why: Exception | None = None
    for _ in range(READ_TRIES):
        try:
            return await read()
        except MissingError as error:
            why = error
        except UNREADABLE as error:
            raise damaged(error) from error
    raise damaged(why)


UNREADABLE = (CodecError, ValueError, KeyError, TypeError, IndexError, zlib.error)
"""What reading raises where something is not as it was written."""


def damaged(error: Exception | None) -> StateError:
    """What an operator is told of it."""
    return StateError(f"the state in etcd cannot be used: {error}. Choose another etcd.cell to start with an empty one")


async def _read_parts(ledger: Ledger, last: int) -> Parts:
    register = await ledger.register(REGISTER)
    manifest = read_manifest(register.value)
    packed = await _chunks(ledger, manifest.deciding)
    stores = {store_id: await _chunks(ledger, one) for store_id, one in manifest.stores.items()}
    reader = BatchReader()
    log = await _read_log(ledger, reader, manifest.seq + 1, last)
    tail = await _chunks(ledger, manifest.tail)
    return Parts(manifest, register.revision, packed, stores, unpack_batch(tail) if tail else None, log, reader, last)


async def _read(ledger: Ledger, last: int) -> Found:
    parts = await _read_parts(ledger, last)
    manifest = parts.manifest
    batches = [*([parts.tail] if parts.tail else []), *(one.batch for one in parts.log)]
    facts: list[Fact] = []
    knowledge: dict[int, KnowledgeEntry] = {}  # a fact may stand in the tail and in the log
    clock = manifest.clock
    for batch in batches:
        clock = batch.clock or clock
        for number, one in batch.entries:
            if not is_uncovered(manifest, number, one):
                continue
            if isinstance(one, Fact):
                facts.append(one)
            else:
                knowledge[number] = one
    loaded = Loaded(
        json.loads(zlib.decompress(parts.packed)) if parts.packed else None,
        facts,
        last_at(manifest, batches),
        LoadedKnowledge(manifest.shared, manifest.shared_number, parts.stores, sorted(knowledge.items())),
        clock,
    )
    log_bytes = sum(one.size for one in parts.log)
    return Found(
        loaded, manifest, parts.revision, last_number(manifest, batches), len(facts) + len(knowledge), log_bytes
    )


async def _read_log(ledger: Ledger, reader: BatchReader, start: int, last: int) -> list[Entry]:
    log: list[Entry] = []
    expected, size = start, 0
    async for seq, entry in ledger.read(start):
        if seq > last:
            break
        if seq != expected:
            raise MissingError(f"entry {expected} of the log is missing")
        expected, size = expected + 1, size + len(entry)
        if (batch := reader.take(entry)) is not None:
            log.append(Entry(seq, size, batch))
            size = 0
    if expected != last + 1:
        raise MissingError(f"entry {expected} of the log is missing")
    return log


async def _chunks(ledger: Ledger, stored: Stored) -> bytes:
    if not stored.name:
        return b""
    found = [one async for one in ledger.chunks(stored.name)]
    if len(found) != stored.chunks or sum(map(len, found)) != stored.size:
        raise MissingError(f"a chunk of snapshot {stored.name} is missing")
    return b"".join(found)


def _snapshots(manifest: Manifest) -> Iterable[Stored]:
    return manifest.deciding, *manifest.stores.values()


def last_at(manifest: Manifest, batches: Iterable[Batch]) -> float:
    """The latest instant of anything that is kept."""
    instants = [one.at for batch in batches for _, one in batch.entries]
    return max([0.0, *(one.at for one in _snapshots(manifest)), *instants])


def last_number(manifest: Manifest, batches: Iterable[Batch]) -> int:
    """The largest number of a fact or snapshot."""
    numbers = [number for batch in batches for number, _ in batch.entries]
    return max([0, manifest.shared_number, *(one.number for one in _snapshots(manifest)), *numbers])
