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
Sums = tuple[int, int]


class _Wrong(NamedTuple):
    """One word of a frame that alone explains why its checksum does not fit."""

    word: int
    """Counted from the end; 0 is the checksum itself."""
    by: int
    """How much it is too large, modulo 2**32."""


class TornWordError(DamagedError):
    """One word of the last transaction is not what was written; its checksum tells what that was."""

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

    One case can be either: one word of the last transaction differs. A bit of it was flipped, or a sector of it was not
    synced and the log held nearly the same there before. What was written is right in both cases, and can be told.
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
    valid, commits, is_last_good = 0, 0, False
    bad: _Frame | None = None
    wrong: list[_Wrong] = []
    for frame in _read_frames(file, order, page_bytes, sums):
        if bad is None and frame.is_valid and frame.salts == salts:
            valid += 1
            continue
        if bad is None:
            bad = frame
            wrong = _explain(frame) if frame.salts == salts else []
            # A frame that fits and has other salts has a bit of these flipped; the last two words are its header.
            if frame.is_valid or any(one.word > frame.words - 2 for one in wrong):
                raise DamagedError(f"{log.name}: frame {frame.number} does not match its checksum")
            commits = int(bad.salts == salts and bad.commits)
            is_last_good = bool(commits)  # but for the word, if only one is wrong
        elif frame.salts == salts and frame.commits:
            commits, is_last_good = commits + 1, frame.is_valid
            # Of one transaction that was not synced, the disk may have kept the end only.
            if commits > 1 and (is_last_good or wrong):
                raise DamagedError(
                    f"{log.name}: frame {bad.number} is bad, and frame {frame.number} behind it was committed"
                )
    if bad is not None and wrong and commits and (is_last_good or not wrong[0].word):
        raise _torn(log, bad, wrong, order)
    return valid


def _torn(log: Path, frame: _Frame, wrong: list[_Wrong], order: str) -> DamagedError:
    """What is wrong in the last transaction."""
    size = len(frame.raw)
    mends: list[Mend] = []
    for word, by in wrong:
        if word:
            found: int = struct.unpack_from(f"{order}I", frame.raw, size - 4 * word)[0]
            offset = _HEADER_BYTES + frame.number * size - 4 * word
            mends.append(Mend(offset, struct.pack(f"{order}I", (found - by) % _WORD)))
    if not mends:
        return DamagedError(f"{log.name}: frame {frame.number} does not match its checksum")
    return TornWordError(log, frame.number, mends)


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


def _explain(frame: _Frame) -> list[_Wrong]:
    """The words each of whose change alone would explain the difference.

    The checksum is linear: a word of the data that is larger by d makes the sums larger by d times two Fibonacci
    numbers, the larger the farther the word lies from the end. Of two that follow each other, one is odd. That a frame
    which was never written whole looks like this has a probability of 1 in 4 million.
    """
    one, two = ((computed - written) % _WORD for computed, written in zip(frame.computed, frame.sums, strict=True))
    if 0 in (one, two) and (frame.computed[0] ^ frame.sums[0] | frame.computed[1] ^ frame.sums[1]).bit_count() == 1:
        return [_Wrong(0, 0)]
    found: list[_Wrong] = []
    before, number = 0, 1  # what the last word adds to the sums, per unit
    for word in range(1, frame.words + 1):
        by = two * pow(number, -1, _WORD) if number % 2 else one * pow(before, -1, _WORD)
        if (by * before - one) % _WORD == 0 == (by * number - two) % _WORD:
            found.append(_Wrong(word, by))
        before, number = number, (before + number) % _WORD
    return found
