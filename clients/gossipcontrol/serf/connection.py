"""One connection to the RPC of a Serf agent: requests and answers, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gossipcontrol.serf.wire import Decoder, Map, WireError, request, text

PORT = 7373
VERSION = 1
ANSWER_TIME = 5.0
"""Seconds within which Serf must answer what it answers from memory."""
CHUNK = 64 * 1024


class SerfGoneError(Exception):
    """The connection cannot be used any more: it broke, no answer came, or what came is none."""


class RefusedError(Exception):
    """Serf refused a command."""


class Connection:
    """Serves one call at a time. One that fails, or is cancelled, leaves the connection closed: it is out of step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._decoder = Decoder()
        self._read: deque[Map] = deque()
        self._sequence = 0
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, host: str, port: int, auth_key: str = "", within: float = ANSWER_TIME) -> Connection:
        """Connect, shake hands, and authenticate where there is a key; raises SerfGoneError and RefusedError."""
        try:
            async with asyncio.timeout(within):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            raise SerfGoneError(str(error) or f"no connection within {within:g} s") from error
        made = cls(reader, writer)
        try:
            await made.call("handshake", {"Version": VERSION}, has_answer=False)
            if auth_key:
                await made.call("auth", {"AuthKey": auth_key}, has_answer=False)
        except BaseException:
            await made.wait_closed()
            raise
        return made

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return not self._writer.is_closing()

    async def call(
        self,
        command: str,
        body: Mapping[str, Any] | None = None,
        *,
        has_answer: bool = True,
        within: float = ANSWER_TIME,
    ) -> Map:
        """The body of the answer, empty where there is none; raises SerfGoneError and RefusedError.

        After an error Serf sends a body or none, depending on the command, so that the connection is closed: except
        after ``join``, whose body always comes, and says how many were joined.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(within):
                    header = await self._request(command, body)
                    error = text(header.get(b"Error"))
                    if error and command != "join":
                        raise RefusedError(error)
                    return {b"Error": header.get(b"Error"), **await self._next()} if has_answer else {}
            except TimeoutError:
                self.close()
                raise SerfGoneError(f"no answer to {command} within {within:g} s") from None
            except BaseException:  # cancelled, for one
                self.close()
                raise

    async def events(self, kinds: str) -> AsyncGenerator[str]:
        """The kinds of events as they come, such as ``member-failed``; raises SerfGoneError and RefusedError."""
        await self.call("stream", {"Type": kinds}, has_answer=False)
        while True:
            await self._next()  # the header, which has the number of the first request
            yield text((await self._next()).get(b"Event"))

    def close(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()

    async def wait_closed(self) -> None:
        """Close it, and wait until it is."""
        self.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _request(self, command: str, body: Mapping[str, Any] | None) -> Map:
        if not self.is_open:
            raise SerfGoneError("the connection is closed")
        self._sequence += 1
        try:
            self._writer.write(request(command, self._sequence, body))
            await self._writer.drain()
        except OSError as error:
            raise SerfGoneError(str(error)) from error
        header = await self._next()
        if header.get(b"Seq") != self._sequence:
            raise SerfGoneError(f"the answer to {command} is out of step")
        return header

    async def _next(self) -> Map:
        try:
            while not self._read:
                data = await self._reader.read(CHUNK)
                if not data:
                    raise SerfGoneError("Serf closed the connection")
                self._read.extend(self._decoder.feed(data))
        except (OSError, WireError) as error:
            raise SerfGoneError(str(error)) from error
        return self._read.popleft()
