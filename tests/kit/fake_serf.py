"""The RPC of a Serf agent, with the faults of the real one and some that it should not have."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from gossipcontrol.serf.node import Rpc
from gossipcontrol.serf.wire import Decoder, Map, number, text

from tests.kit.local_server import LocalServer
from tests.kit.until import until


class FakeSerf:
    """Members by name and status; what is joined becomes alive, unless it is ``away``."""

    def __init__(self, name: str = "n1", **members: str) -> None:
        import msgpack

        self._pack = cast("Any", msgpack).packb
        self.name = name
        self.statuses = {name: "alive", **members}
        self.tags: dict[str, str] = {}
        self.away: set[str] = set()
        """Members that nobody reaches."""
        self.health = 0
        self.can_send = True
        """Whether its host has a way out."""
        self.looks = 0
        """Calls of members."""
        self.auth_key = ""
        self.joins: list[list[str]] = []
        self.held: asyncio.Event | None = None
        """Makes each join wait, as one of an address behind which nothing answers."""
        self.reply: bytes | None = None
        """Sent instead of every answer to ``members``."""
        self.mute: set[str] = set()
        """Commands that are never answered."""
        self.connections = 0
        self._server = LocalServer(self._serve)
        self._streams: list[tuple[asyncio.StreamWriter, int]] = []

    @property
    def rpc(self) -> Rpc:
        """Where it is."""
        host, _, port = self._server.address.rpartition(":")
        return Rpc(host, int(port), self.auth_key)

    def address_of(self, name: str) -> str:
        """Where a member is."""
        return f"192.0.2.{sorted(self.statuses).index(name) + 1}:7946"

    async def cut(self) -> None:
        """End every connection, once somebody follows the events."""
        await until(lambda: bool(self._streams), "somebody follows the events")
        self._streams.clear()
        self._server.cut()

    async def event(self, kind: str) -> None:
        """Send an event to every stream, of which there is one soon."""
        await until(lambda: bool(self._streams), "somebody follows the events")
        for writer, sequence in self._streams:
            self._send(writer, {"Seq": sequence, "Error": ""}, {"Event": kind, "Members": []})

    @staticmethod
    @asynccontextmanager
    async def running(name: str = "n1", **members: str) -> AsyncGenerator[FakeSerf]:
        """One that runs."""
        fake = FakeSerf(name, **members)
        async with fake._server:
            yield fake

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        decoder, command, is_known, may_ask = Decoder(), "", False, not self.auth_key
        sequence = 0
        while data := await reader.read(65536):
            body: Map
            for body in decoder.feed(data):
                if not command:
                    command, sequence = text(body.get(b"Command")), number(body.get(b"Seq"))
                    if command in ("members", "stats", "bogus"):
                        body = {}
                    else:
                        continue
                if command in self.mute:
                    command = ""
                    continue
                if command != "handshake" and not is_known:
                    self._send(writer, self._header(sequence, "Handshake required"))
                    return
                if command == "auth":
                    may_ask = text(body.get(b"AuthKey")) == self.auth_key
                    self._send(writer, self._header(sequence, "" if may_ask else "Invalid authentication token"))
                elif not may_ask and command != "handshake":
                    self._send(writer, self._header(sequence, "Authentication required"))
                elif command == "handshake":
                    is_known = True
                    self._send(writer, self._header(sequence))
                elif not await self._answer(writer, command, sequence, body):
                    return
                command = ""

    async def _answer(self, writer: asyncio.StreamWriter, command: str, sequence: int, body: Map) -> bool:
        """Whether the connection goes on."""
        header = self._header(sequence)
        match command:
            case "stats":
                self._send(writer, header, {"agent": {"name": self.name}, "serf": {"health_score": str(self.health)}})
            case "members" if self.reply is not None:
                writer.write(self.reply)
            case "members":
                self.looks += 1
                self._send(writer, header, {"Members": [self._member(name) for name in self.statuses]})
            case "join":
                await self._join(writer, sequence, [text(one) for one in body.get(b"Existing", [])])
            case "stream":
                self._streams.append((writer, sequence))
                self._send(writer, header)
            case _:
                self._send(writer, self._header(sequence, "Unsupported command"))
                return False
        return True

    async def _join(self, writer: asyncio.StreamWriter, sequence: int, addresses: list[str]) -> None:
        self.joins.append(addresses)
        if self.held is not None:
            await self.held.wait()
        names = {self.address_of(name): name for name in self.statuses}
        reached = [names[one] for one in addresses if one in names and names[one] not in self.away]
        self.statuses.update(dict.fromkeys(reached, "alive"))
        error = "" if reached or not addresses else f"{len(addresses)} error occurred:\n\t* Failed to join\n\n"
        self._send(writer, self._header(sequence, error), {"Num": len(reached)})

    def _member(self, name: str) -> dict[str, Any]:
        host, _, port = self.address_of(name).rpartition(":")
        return {
            "Name": name, "Addr": ipaddress.ip_address(host).packed, "Port": int(port), "Status": self.statuses[name],
            "Tags": self.tags if name == self.name else {},
        }  # fmt: skip

    def _header(self, sequence: int, error: str = "") -> dict[str, Any]:
        return {"Seq": sequence, "Error": error}

    def _send(self, writer: asyncio.StreamWriter, *found: Mapping[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(b"".join(self._pack(one, use_bin_type=False) for one in found))
