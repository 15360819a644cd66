"""Damage in SQLite's write-ahead log, which SQLite itself takes for the torn end that a crash leaves.

The format is that of "WAL-mode File Format", https://www.sqlite.org/walformat.html: a header of 32 bytes, then frames,
each a header of 24 bytes and a page. The checksum of a frame goes on from that of the frame before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gossipcontrol.server.state.checksum import DamagedError

_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""First word of the file, and the byte order of its checksums."""
_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_WORD = 1 << 32
Sums = tuple[int, int]


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
    words: int
    """Words that the checksum covers."""

    @property
    def is_valid(self) -> bool:
        return self.sums == self.computed


def verify(path: Path) -> int:
    """Read the log of this database; returns how many frames hold. Raises OSError or DamagedError.

    A bad frame with no commit behind it is the end: a crash while it was written leaves that, and so does a log that
    begins again, over older frames. So does a transaction of which a power cut kept the end and not the begin. But a
    good frame that commits a later transaction was written after all before it was synced, and a frame that commits
    and differs in one word from what was written was written whole. (A frame that commits nothing may be bad: SQLite
    writes a page over its frame when a large transaction changes it twice.)
    """
    log = Path(f"{path}-wal")
    try:
        with log.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            try:
                return _verify(file, header, log.name)
            except DamagedError:
                file.seek(0)
                if file.read(_HEADER_BYTES) == header:
                    raise
        return verify(path)  # a service began the log again meanwhile
    except FileNotFoundError:
        return 0


def _verify(file: BinaryIO, header: bytes, name: str) -> int:
    if len(header) < _HEADER_BYTES or (not any(header) and _is_zero(file)):
        return 0
    order = _MAGIC.get(int.from_bytes(header[:4], "big"))
    if order is None or (sums := _checksum(order, header[:24], (0, 0))) != struct.unpack(">2I", header[24:]):
        raise DamagedError(f"{name}: its header does not match its checksum")
    page_bytes, salts = int.from_bytes(header[8:12], "big"), header[16:24]
    valid, flipped, others = 0, False, 0
    bad: _Frame | None = None
    for frame in _read_frames(file, order, page_bytes, sums):
        if bad is None and frame.is_valid and frame.salts == salts:
            valid += 1
            continue
        if bad is None:
            bad = frame
            word = _flipped(frame) if frame.salts == salts else None
            flipped = word is not None
            # A frame that fits and has other salts has a bit of these flipped; the last two words are its header.
            if frame.is_valid or (word is not None and (frame.commits or word > frame.words - 2)):
                raise DamagedError(f"{name}: frame {frame.number} does not match its checksum")
            others = int(bad.salts == salts and bad.commits)
        elif frame.salts == salts and frame.commits:
            others += 1
            if not flipped and not (frame.is_valid and others > 1):
                continue  # of one transaction that was not synced, the disk may have kept the end only
            raise DamagedError(f"{name}: frame {bad.number} is bad, and frame {frame.number} behind it was committed")
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
        yield _Frame(number, any(raw[4:8]), raw[8:16], written, computed, 2 + page_bytes // 4)
        sums = written


def _checksum(order: str, data: bytes, sums: Sums) -> Sums:
    """Go on from these sums over data of a multiple of eight bytes."""
    one, two = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for first, second in zip(words, words, strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _flipped(frame: _Frame) -> int | None:
    """The word, counted from the end, whose change alone explains the difference; 0 is the checksum itself.

    The checksum is linear: a word of the data that is larger by d makes the sums larger by d times two Fibonacci
    numbers, the larger the farther the word lies from the end. Of two that follow each other, one is odd. That a frame
    which was never written whole looks like this has a probability of 1 in 4 million.
    """
    one, two = ((computed - written) % _WORD for computed, written in zip(frame.computed, frame.sums, strict=True))
    if 0 in (one, two) and (frame.computed[0] ^ frame.sums[0] | frame.computed[1] ^ frame.sums[1]).bit_count() == 1:
        return 0
    before, number = 0, 1  # what the last word adds to the sums, per unit
    for word in range(1, frame.words + 1):
        by = two * pow(number, -1, _WORD) if number % 2 else one * pow(before, -1, _WORD)
        if (by * before - one) % _WORD == 0 == (by * number - two) % _WORD:
            return word
        before, number = number, (before + number) % _WORD
    return None
