"""Frames: a JSON header, followed by columns of numbers and names, each a run of bytes."""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterable, Sequence
from sys import byteorder
from typing import Any

FRAME_VERSION = f"1-{byteorder}"
"""Version of the frame format; columns are in the machine's byte order."""


def pack(header: dict[str, Any], columns: Sequence[bytes]) -> bytes:
    """Encode a frame."""
    sizes = [len(column) for column in columns]
    head = json.dumps({"version": FRAME_VERSION, **header, "sizes": sizes}, separators=(",", ":")).encode()
    return b"".join((len(head).to_bytes(4, "little"), head, *columns))


def unpack(body: bytes, start: int = 0) -> tuple[dict[str, Any], list[bytes], int]:
    """The header and columns of a frame, and the offset of the next one; raises ValueError."""
    end = start + 4 + int.from_bytes(body[start : start + 4], "little")
    header: dict[str, Any] = json.loads(body[start + 4 : end])
    if header["version"] != FRAME_VERSION:
        raise ValueError(f"a frame of version {header['version']} cannot be read, only {FRAME_VERSION}")
    columns: list[bytes] = []
    for size in header["sizes"]:
        columns.append(body[end : end + size])
        end += size
    if end > len(body):
        raise ValueError("a frame is cut off")
    return header, columns, end


def code(most: int) -> str:
    """The array type of the narrowest column that holds numbers up to ``most``."""
    return "B" if most < 1 << 8 else "H" if most < 1 << 16 else "I"


def numbers(kind: str, column: bytes) -> array[int]:
    """Decode a column of numbers."""
    found: array[int] = array(kind)
    found.frombytes(column)
    return found


def pack_names(names: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The concatenated names, and the length of each as one byte; a single byte when all lengths are equal."""
    lengths = bytes(map(len, names))
    return b"".join(names), lengths[:1] if len(set(lengths)) == 1 else lengths


def unpack_names(row: bytes, lengths: bytes) -> list[bytes]:
    """Decode what ``pack_names`` wrote."""
    if len(lengths) == 1:
        width = lengths[0]
        return [row[start : start + width] for start in range(0, len(row), width)]
    names: list[bytes] = []
    start = 0
    for length in lengths:
        names.append(row[start : start + length])
        start += length
    return names


def pack_vectors(vectors: Iterable[int], lanes: int) -> bytes:
    """Encode vectors as they are; for checkpoints of one chain, which differ too much to compress."""
    return b"".join([vector.to_bytes(lanes * 4, "little") for vector in vectors])


def unpack_vectors(packed: bytes, lanes: int) -> list[int]:
    """Decode what ``pack_vectors`` wrote."""
    size = max(1, lanes * 4)
    return [int.from_bytes(packed[start : start + size], "little") for start in range(0, len(packed), size)]


def pack_alike(vectors: Sequence[int], lanes: int) -> bytes:
    """Encode vectors that resemble their predecessors: as compressed differences."""
    changes = (one ^ before for before, one in zip([0, *vectors], vectors, strict=False))
    return zlib.compress(pack_vectors(changes, lanes), 1)


def unpack_alike(packed: bytes, lanes: int) -> list[int]:
    """Decode what ``pack_alike`` wrote."""
    found: list[int] = []
    before = 0
    for change in unpack_vectors(zlib.decompress(packed), lanes):
        before ^= change
        found.append(before)
    return found
