"""A bare HTTP client of the service: requests as curl and a browser would write them."""

from __future__ import annotations

import asyncio
import http.client
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.kit.until import DEADLINE

SERVICE = "/gossipcontrol.v1.GossipControl/"
END = 0b10
"""Flag of the last envelope of a Connect stream."""
TRAILERS = 0x80
"""Flag of the last envelope of a gRPC-Web answer."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


def request(
    port: int, path: str, body: bytes | Mapping[str, Any] = b"{}", *, method: str = "POST", **headers: str
) -> Answer:
    """One request on a connection of its own; names of headers are written with underscores."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        given = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path if path.startswith("/") else SERVICE + path, data, given)
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


async def call(port: int, path: str, body: bytes | Mapping[str, Any] = b"{}", **headers: str) -> Answer:
    """The same, while the event loop goes on."""
    return await asyncio.to_thread(request, port, path, body, **headers)


def envelope(data: bytes) -> bytes:
    """A message of a stream."""
    return struct.pack(">BI", 0, len(data)) + data


def envelopes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The flags and the content of each envelope."""
    while data:
        flags, length = struct.unpack(">BI", data[:5])
        yield flags, data[5 : 5 + length]
        data = data[5 + length :]


async def read_envelope(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next envelope of a chunked answer, each envelope being a chunk."""
    async with asyncio.timeout(DEADLINE):
        size = int(await reader.readline(), 16)
        chunk = await reader.readexactly(size + 2)
    [(flags, data)] = envelopes(chunk[:-2])
    return flags, data
