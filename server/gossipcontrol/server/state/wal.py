"""Damage in SQLite's write-ahead log, which SQLite itself takes for the torn end that a crash leaves.

The format is that of "WAL-mode File Format", https://www.sqlite.org/walformat.html: a header of 32 bytes, then frames,
each a header of 24 bytes and a page. The checksum of a frame goes on from that of the frame before it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gossipcontrol.server.state.checksum import DamagedError

_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""First word of the file, and the byte order of its checksums."""
_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_WORD = 1 << 32
_SECTOR = 512
"""Bytes that a disk writes as one; the header of a frame may lie in two of them."""
Sums = tuple[int, int]


class TornWordError(DamagedError):
    """A word, or the salts, of the last transaction are not what was written; its checksum tells what that was."""

    def __init__(self, log: Path, frame: int, mends: Sequence[Mend]) -> None:
        super().__init__(f"{log.name}: one word of frame {frame} does not match its checksum; a start can mend it")
        self.log = log
        self.mends = mends
        """Of which one is right: a change of the upper bits of a word looks like one of some other words."""


class Mend(NamedTuple):
    """A word as it may have been written."""

    offset: int
    """In bytes from the start of the log."""
    word: bytes


class _Frame(NamedTuple):
    number: int
    """From 1 on."""
    commits: bool
    """Whether it ends a transaction."""
    salts: bytes
    sums: Sums
    """As written."""
    computed: Sums
    """From the sums of the frame before, as written there."""
    raw: bytes
    """The header, and the page."""

    @property
    def offset(self) -> int:
        """In bytes from the start of the log."""
        return _HEADER_BYTES + (self.number - 1) * len(self.raw)

    def committed(self, mend: Mend) -> bool:
        """Whether it ended a transaction, with this change."""
        return any(mend.word) if mend.offset == self.offset + 4 else self.commits

    @property
    def words(self) -> int:
        """Words that the checksum covers."""
        return 2 + (len(self.raw) - _FRAME_HEADER_BYTES) // 4

    @property
    def is_valid(self) -> bool:
        return self.sums == self.computed


def verify(path: Path) -> int:
    """Read the log of this database; returns how many frames hold. Raises OSError, DamagedError or TornWordError.

    A bad frame with no commit behind it is the end: a crash while it was written leaves that, and so does a log that
    begins again, over older frames. So does a transaction of which a power cut kept the end and not the begin. But a
    good frame that commits a later transaction was written after all before it was synced. (A frame that commits
    nothing may be bad: SQLite writes a page over its frame when a large transaction changes it twice.)

    One case can be either: one word of the last transaction differs, or the salts of a frame do. A bit was flipped, or
    a sector was not synced and the log held nearly the same there before, as it does of a frame whose header lies in
    two sectors. What was written is right in both cases, and can be told.
    """
    log = Path(f"{path}-wal")
    try:
        with log.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            try:
                return _verify(file, header, log)
            except DamagedError:
                file.seek(0)
                if file.read(_HEADER_BYTES) == header:
                    raise
        return verify(path)  # a service began the log again meanwhile
    except FileNotFoundError:
        return 0


def write(log: Path, mend: Mend) -> None:
    """Write a word into the log; raises OSError."""
    with log.open("r+b") as file:
        file.seek(mend.offset)
        file.write(mend.word)
        file.flush()
        os.fsync(file.fileno())


def _verify(file: BinaryIO, header: bytes, log: Path) -> int:
    if len(header) < _HEADER_BYTES or (not any(header) and _is_zero(file)):
        return 0
    order = _MAGIC.get(int.from_bytes(header[:4], "big"))
    if order is None or (sums := _checksum(order, header[:24], (0, 0))) != struct.unpack(">2I", header[24:]):
        raise DamagedError(f"{log.name}: its header does not match its checksum")
    page_bytes, salts = int.from_bytes(header[8:12], "big"), header[16:24]
    valid, commits, may_commit, is_last_good = 0, 0, False, False
    bad: _Frame | None = None
    mends: list[Mend] | None = None
    for frame in _read_frames(file, order, page_bytes, sums):
        if bad is None and frame.is_valid and frame.salts == salts:
            valid += 1
        elif bad is None:
            bad, mends = frame, _explain(frame, salts, order)
            if mends is None:  # the begin of its header may be older than the rest
                ends = {frame.commits and frame.salts == salts and frame.offset % _SECTOR != _SECTOR - 8}
            else:
                ends = {frame.committed(mend) for mend in mends} or {frame.commits}
            commits, may_commit = int(all(ends)), any(ends)
            is_last_good = may_commit  # but for what can be mended
        elif frame.salts == salts and frame.commits:
            commits, is_last_good = commits + 1, frame.is_valid
            # Of one transaction that was not synced, the disk may have kept the end only.
            if commits > 1 and (is_last_good or mends is not None):
                raise DamagedError(
                    f"{log.name}: frame {bad.number} is bad, and frame {frame.number} behind it was committed"
                )
    if bad is not None and mends is not None and (commits or may_commit) and (is_last_good or not mends):
        if not mends:
            raise DamagedError(f"{log.name}: frame {bad.number} does not match its checksum")
        raise TornWordError(log, bad.number, mends)
    return valid


def _is_zero(file: BinaryIO) -> bool:
    """Whether nothing but zeros follows: the file grew, and a power cut kept its content from the disk."""
    return all(not chunk.strip(b"\0") for chunk in iter(lambda: file.read(1 << 16), b""))


def _read_frames(file: BinaryIO, order: str, page_bytes: int, sums: Sums) -> Iterator[_Frame]:
    number, size = 0, _FRAME_HEADER_BYTES + page_bytes
    while len(raw := file.read(size)) == size:
        number += 1
        written: Sums = struct.unpack(">2I", raw[16:24])
        computed = _checksum(order, raw[24:], _checksum(order, raw[:8], sums))
        yield _Frame(number, any(raw[4:8]), raw[8:16], written, computed, raw)
        sums = written


def _checksum(order: str, data: bytes, sums: Sums) -> Sums:
    """Go on from these sums over data of a multiple of eight bytes."""
    one, two = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for first, second in zip(words, words, strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _explain(frame: _Frame, salts: bytes, order: str) -> list[Mend] | None:
    """The single changes each of which would make a bad frame fit; empty: it is the checksum itself; None: no change.

    The checksum is linear: a word of the data that is larger by d makes the sums larger by d times two Fibonacci
    numbers, the larger the farther the word lies from the end. Of two that follow each other, one is odd. That a frame
    which was never written whole looks like this has a probability of 1 in 4 million. The salts are not summed.
    """
    if frame.salts != salts:
        return [Mend(frame.offset + 8, salts)] if frame.is_valid else None
    one, two = ((computed - written) % _WORD for computed, written in zip(frame.computed, frame.sums, strict=True))
    if 0 in (one, two) and (frame.computed[0] ^ frame.sums[0] | frame.computed[1] ^ frame.sums[1]).bit_count() == 1:
        return []
    found: list[Mend] = []
    size = len(frame.raw)
    before, number = 0, 1  # what the last word adds to the sums, per unit
    for word in range(1, frame.words + 1):
        by = two * pow(number, -1, _WORD) if number % 2 else one * pow(before, -1, _WORD)
        if (by * before - one) % _WORD == 0 == (by * number - two) % _WORD:
            at = size - 4 * word if word <= frame.words - 2 else 4 * (frame.words - word)
            value: int = struct.unpack_from(f"{order}I", frame.raw, at)[0]
            found.append(Mend(frame.offset + at, struct.pack(f"{order}I", (value - by) % _WORD)))
        before, number = number, (before + number) % _WORD
    return found[::-1] or None  # the header's first
