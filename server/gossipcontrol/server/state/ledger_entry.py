"""What stands in an entry of a ledger: the owner's epoch, and facts with their numbers, checked and compressed."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry, read_plain, write_entry
from gossipcontrol.server.state.journal import ClockReading

FORMAT = 1
"""Of an entry."""
COMPRESSED_FROM = 4096
"""Bytes from which on a batch is compressed."""
ENTRY_BYTES = 1 << 20
"""Most bytes of a batch in one entry; what is longer goes on in the next."""
_HEADER = struct.Struct(">B?QI")
"""Format, whether the batch goes on in the next entry, epoch, CRC-32 of the rest."""

Numbered = tuple[int, Fact | KnowledgeEntry]


class Batch(NamedTuple):
    """Facts that are kept together, with their numbers."""

    clock: ClockReading | None
    """How the owner's clocks stood, where that was new."""
    entries: Sequence[Numbered]
    checksums: Mapping[int, int] | None = None
    """Of the effects of a turn, by the number of its last fact, unless it had none; None: an earlier version wrote it.

    Earlier versions read a batch that has them, for they look for nothing but the clock and the rows.
    """


def pack_batch(batch: Batch) -> bytes:
    """The bytes of a batch."""
    blobs: list[bytes] = []
    rows: list[str] = []
    for number, one in batch.entries:
        if isinstance(one, Fact):
            at, kind, fields, reads = write_entry(one)
            rows.append(f'[{number},{at!r},"{kind}",{fields},{reads}]')
        else:
            rows.append(json.dumps([number, float(one.at), one.kind, one.store_id, len(one.body)]))
            blobs.append(one.body)
    clock = json.dumps(batch.clock and _plain(batch.clock))
    effects = "" if batch.checksums is None else f',"effects":{json.dumps([*batch.checksums.items()])}'
    text = f'{{"clock":{clock}{effects},"rows":[{",".join(rows)}]}}'.encode()
    content = b"".join([len(text).to_bytes(4), text, *blobs])
    return b"\1" + zlib.compress(content, 1) if len(content) >= COMPRESSED_FROM else b"\0" + content


def unpack_batch(body: bytes) -> Batch:
    """The batch; raises ValueError, IndexError, KeyError, zlib.error or CodecError."""
    content = zlib.decompress(body[1:]) if body[0] else body[1:]
    end = 4 + int.from_bytes(content[:4])
    plain: dict[str, Any] = json.loads(content[4:end])
    entries: list[Numbered] = []
    for number, at, kind, what, more in plain["rows"]:
        if isinstance(what, str):
            entries.append((number, KnowledgeEntry(at, what, kind, content[end : end + more])))
            end += more
        else:
            entries.append((number, read_plain(at, kind, what, more)))
    checksums = dict(plain["effects"]) if "effects" in plain else None
    return Batch(ClockReading(*plain["clock"]) if plain["clock"] else None, entries, checksums)


def write_entries(epoch: int, body: bytes) -> list[bytes]:
    """The entries of the ledger that hold a batch; an empty one is a claim."""
    pieces = [body[start : start + ENTRY_BYTES] for start in range(0, len(body) or 1, ENTRY_BYTES)]
    last = len(pieces) - 1
    return [_HEADER.pack(FORMAT, number < last, epoch, zlib.crc32(one)) + one for number, one in enumerate(pieces)]


def read_epoch(entry: bytes) -> int:
    """The epoch of an entry; raises ValueError."""
    return _split(entry)[1]


class BatchReader:
    """Puts the entries of a ledger together. What an owner did not finish was never acknowledged, and is left out."""

    def __init__(self) -> None:
        self.batch_epoch: int = 0
        """Of the owner that wrote the last batch."""
        self._epoch: int = 0
        self._pieces: list[bytes] = []

    def take(self, entry: bytes) -> Batch | None:
        """The next entry; returns the batch that it ends, None for a claim. Raises what ``unpack_batch`` does."""
        goes_on, epoch, piece = _split(entry)
        if epoch != self._epoch:
            self._epoch = epoch
            self._pieces.clear()
        self._pieces.append(piece)
        if goes_on:
            return None
        body = b"".join(self._pieces)
        self._pieces.clear()
        if not body:
            return None
        self.batch_epoch = epoch
        return unpack_batch(body)


def _split(entry: bytes) -> tuple[bool, int, bytes]:
    """Whether it goes on, epoch and content."""
    if len(entry) < _HEADER.size:
        raise ValueError("an entry of the ledger is cut off")
    form, goes_on, epoch, crc = _HEADER.unpack_from(entry)
    if form != FORMAT:
        raise ValueError(f"an entry of the ledger has format {form}: was it written by a newer version?")
    piece = entry[_HEADER.size :]
    if zlib.crc32(piece) != crc:
        raise ValueError("an entry of the ledger does not match its checksum")
    return goes_on, epoch, piece


def _plain(clock: ClockReading) -> tuple[str, float, float]:
    return clock.boot_id, clock.boot_offset, clock.wall_offset
