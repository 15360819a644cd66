"""Serf's RPC in bytes: msgpack objects, one after the other without frames. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

import msgpack

Map: TypeAlias = Mapping[bytes, Any]
"""A map that Serf sent; its strings are bytes, because addresses come as raw bytes too."""

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of one object: some 60,000 members."""
MOST_ENTRIES = 100_000
"""Entries of one array."""
MOST_KEYS = 4096
"""Keys of one map."""
MOST_TEXT = 64 * 1024
"""Bytes of one string."""


_msgpack = cast("Any", msgpack)
"""It has no types."""


class WireError(Exception):
    """What came is no answer of Serf's RPC."""


class Decoder:
    """Takes bytes as they come, and gives the maps that are whole; everything is bounded."""

    def __init__(self) -> None:
        self._unpacker = _msgpack.Unpacker(
            # Serf writes strings and bytes alike as "raw", so which of them is text only the reader knows.
            raw=True, strict_map_key=False, max_buffer_size=MOST_BYTES, max_array_len=MOST_ENTRIES,
            max_map_len=MOST_KEYS, max_str_len=MOST_TEXT, max_bin_len=MOST_TEXT, max_ext_len=MOST_TEXT,
        )  # fmt: skip

    def feed(self, data: bytes) -> Iterator[Map]:
        """The maps that these bytes complete; raises WireError."""
        try:
            self._unpacker.feed(data)
            for found in self._unpacker:
                if not isinstance(found, dict):
                    raise WireError(f"not a map but {type(found).__name__}")
                yield cast("Map", found)
        except (ValueError, _msgpack.UnpackException, RecursionError) as error:
            raise WireError(f"no msgpack within bounds: {type(error).__name__} {error}") from error


def request(command: str, sequence: int, body: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of one request."""
    header: bytes = _msgpack.packb({"Command": command, "Seq": sequence})
    return header if body is None else header + cast("bytes", _msgpack.packb(body))


def part(value: object) -> Map:
    """A map within a map that Serf sent; empty when it is none."""
    return cast("Map", value) if isinstance(value, dict) else {}


def text(value: object) -> str:
    """Text that Serf sent; empty when it is no text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def number(value: object) -> int:
    """A number that Serf sent, as such or in digits; 0 when it is none."""
    if isinstance(value, int):
        return value
    digits = text(value)
    return int(digits) if digits.isdecimal() and len(digits) < 19 else 0
