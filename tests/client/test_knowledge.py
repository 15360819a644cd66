"""The client's calls of PeerKnowledge against a real service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import ClientError

from tests.kit.address import connect_locally, local_address
from tests.kit.intentions import batch, chain, serving_in_memory
from tests.kit.local_server import LocalServer


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "s.sock"
    async with serving_in_memory(path):
        yield path


class Breaker:
    """A socket before the service's that breaks the first connection once so many bytes have gone through."""

    def __init__(self, path: Path, behind: Path, limit: int) -> None:
        self.path, self._behind, self._left = path, behind, limit
        self.connections = 0
        self.broken: list[OSError] = []
        """Ends of connections that did not end well, as those that it breaks do."""

    async def __aenter__(self) -> Breaker:
        self._server = LocalServer(self._serve, self.path)
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.__aexit__(*error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        inner_reader, inner_writer = await connect_locally(self._behind)
        limited = self.connections == 1
        try:
            await asyncio.gather(
                self._pump(reader, inner_writer, writer, limited), self._pump(inner_reader, writer, inner_writer, False)
            )
        finally:
            inner_writer.transport.abort()
            with suppress(OSError):
                await inner_writer.wait_closed()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter, limited: bool
    ) -> None:
        try:
            while data := await reader.read(4096):
                self._left -= len(data)
                if limited and self._left < 0:
                    break
                writer.write(data)
                await writer.drain()
        except OSError as error:
            self.broken.append(error)
        finally:
            writer.close()
            other.close()


@pytest.mark.not_on_windows("Wine 8 ends large overlapped writes early, at which gRPC aborts the process")
async def test_a_stream_that_breaks_is_resumed(socket: Path, tmp_path: Path) -> None:
    intentions = chain("a", 20_000)
    batches = [batch(*intentions[start : start + 100]) for start in range(0, 20_000, 100)]
    async with Breaker(tmp_path / "b.sock", socket, 400_000) as breaker:
        async with Client(local_address(breaker.path), timeout=60.0) as client:
            answer = await client.knowledge.record(batches)
            rows = [row async for row in client.knowledge.rows("s")]
        assert breaker.connections >= 2
    assert answer.last_sequence == 200
    assert 0 < answer.recorded < 20_000, "it went on where it broke off"
    assert rows[0].held == 20_000


async def test_the_calls(socket: Path) -> None:
    async with Client(local_address(socket)) as client:
        knowledge = client.knowledge
        await knowledge.record([batch(*chain("alice", 3)), batch(*chain("bob", 1, b"alice1"))])
        assert [lag.behind async for lag in knowledge.lags("s")] == [1, 1]
        assert [place.hash for place in (await knowledge.frontier("s")).positions] == [b"alice1"]
        assert await knowledge.change_members("s", removed=["bob"]) == 1
        assert [row.peer_id async for row in knowledge.rows("s", holds=b"alice1")] == ["alice", "bob"]
        with pytest.raises(ClientError, match="no intention of store x"):
            await knowledge.frontier("x")
