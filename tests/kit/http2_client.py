"""A gRPC client that writes HTTP/2 frames itself, so that thousands of agents cost next to nothing.

It implements what a gRPC server needs of RFC 9113: settings, flow control of what it sends, and pings.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TypeAlias

OnMessage: TypeAlias = "Callable[[int, bytes], None]"
"""Called with the number of a call and one message of its answer."""
OnEnd: TypeAlias = "Callable[[int], None]"
"""Called with the number of a call that ended."""
OnHeaders: TypeAlias = "Callable[[int, dict[str, bytes]], None]"
"""Called with the number of a call and those headers or trailers that the server spelt out."""

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_TABLE_SIZE, _WINDOW_SIZE, _TRUE_BINARY = 1, 4, 0xFE03
"""Settings; the last one is gRPC's: binary metadata comes as it is, and not in base64."""
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW = 65_535
_LARGEST_WINDOW = (1 << 31) - 1


def header_block(method: str) -> bytes:
    """The headers of a call of ``/package.Service/Method``, as HPACK literals that touch no table (RFC 7541, 6.2.2)."""
    post, http, authority, content_type = b"\x83", b"\x86", b"\x01" + _text("localhost"), b"\x0f\x10"
    grpc = _text("application/grpc")
    return (
        post
        + http
        + b"\x04"
        + _text(method)
        + authority
        + content_type
        + grpc
        + b"\0"
        + _text("te")
        + _text("trailers")
    )


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode("ascii")


def spelt_out(block: bytes) -> dict[str, bytes]:
    """The headers of an HPACK block with literal names, of a server that keeps no table (RFC 7541, 6).

    Those with a name of the static table, and texts in Huffman's code, are left out.
    """
    found: dict[str, bytes] = {}
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # a header of the static table
            _, at = _integer(block, at, 7)
        elif first & 0xE0 == 0x20:  # the size of the table
            _, at = _integer(block, at, 5)
        else:
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name: bytes | None = None
            if not index:
                name, at = _string(block, at)
            value, at = _string(block, at)
            if name is not None and value is not None:
                found[name.decode("ascii")] = value
    return found


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value < most:
        return value, at
    shift = 0
    while True:
        value, more, at = value + ((block[at] & 0x7F) << shift), block[at] & 0x80, at + 1
        shift += 7
        if not more:
            return value, at


def _string(block: bytes, at: int) -> tuple[bytes | None, int]:
    is_coded = block[at] & 0x80
    size, at = _integer(block, at, 7)
    return None if is_coded else block[at : at + size], at + size


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body


class Http2Client(asyncio.Protocol):
    """One connection; calls are numbered by their HTTP/2 streams.

    With ``on_lost`` the connection may end; without, that the server goes away is an error.
    """

    def __init__(
        self,
        on_message: OnMessage,
        on_end: OnEnd,
        on_headers: OnHeaders | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._on_headers = on_headers
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._messages: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._window = _INITIAL_WINDOW
        self._blocked: deque[bytes] = deque()
        self._next_stream = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface, with flow control windows that never fill."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = struct.pack(">HIHIHI", _TABLE_SIZE, 0, _WINDOW_SIZE, _LARGEST_WINDOW, _TRUE_BINARY, 1)
        more = struct.pack(">I", _LARGEST_WINDOW - _INITIAL_WINDOW)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        transport.write(preface + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, more))

    def call(self, headers: bytes, message: bytes, *, last: bool) -> int:
        """Begin a call with one message, and return its number; with ``last``, no other message follows."""
        stream = self.open(headers)
        self.send(stream, message, last=last)
        return stream

    def open(self, headers: bytes) -> int:
        """Begin a call without a message, and return its number."""
        assert self._transport is not None
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._transport.write(_frame(_HEADERS, _END_HEADERS, stream, headers))
        return stream

    def send(self, stream: int, message: bytes, *, last: bool = False) -> None:
        """Send a message more in a call that its first one did not end."""
        body = b"\0" + len(message).to_bytes(4, "big") + message
        self._blocked.append(_frame(_DATA, _END_STREAM if last else 0, stream, body))
        self._send_data()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever wants to know."""
        if self._on_lost is not None:
            self._on_lost()

    def close(self) -> None:
        """End the connection and every call."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handle every complete frame."""
        received = self._received
        received += data
        at = 0
        while len(received) - at >= 9:
            end = at + 9 + int.from_bytes(received[at : at + 3], "big")
            if len(received) < end:
                break
            stream = int.from_bytes(received[at + 5 : at + 9], "big")
            self._on_frame(received[at + 3], received[at + 4], stream, bytes(received[at + 9 : end]))
            at = end
        del received[:at]

    def _on_frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        assert self._transport is not None
        if kind == _DATA:
            self._on_data(stream, body)
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(body, "big")
            self._send_data()
        elif kind in (_PING, _SETTINGS) and not flags & _ACK:
            self._transport.write(_frame(kind, _ACK, 0, body if kind == _PING else b""))
        elif kind == _GOAWAY and self._on_lost is None:
            raise ConnectionError(f"the server went away: {body[8:]!r}")
        elif kind == _HEADERS and self._on_headers is not None:
            self._on_headers(stream, spelt_out(body))
        if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._messages.pop(stream, None)
            self._on_end(stream)

    def _on_data(self, stream: int, body: bytes) -> None:
        part = self._messages[stream]
        part += body
        while len(part) >= 5 and len(part) >= (end := 5 + int.from_bytes(part[1:5], "big")):
            self._on_message(stream, bytes(part[5:end]))
            del part[:end]

    def _send_data(self) -> None:
        assert self._transport is not None
        while self._blocked and len(self._blocked[0]) - 9 <= self._window:
            frame = self._blocked.popleft()
            self._window -= len(frame) - 9
            self._transport.write(frame)
