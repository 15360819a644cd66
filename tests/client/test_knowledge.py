"""The client's calls of PeerKnowledge, and the command ``gossipcontrol knowledge``, against a real service."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import ClientError
from gossipcontrol.client.knowledge_table import age, sentence
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Listen, Log, Metrics, State
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.v1 import peer_knowledge_pb2 as pb


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "s.sock"
    config = Config(listen=Listen(socket=str(path), tcp=""), metrics=Metrics(address=""), state=State(backend="memory"))
    app = App(config, make_logger(Log(level="error")))
    await app.start()
    yield path
    await app.stop()


def chain(author: str, number: int, *seen: bytes) -> list[pb.Intention]:
    names = [b"%s%d" % (author.encode(), count) for count in range(number)]
    pairs = zip([b"", *names], names, strict=False)
    return [pb.Intention(author_id=author, hash=name, store_prev=prev, dependencies=seen) for prev, name in pairs]


def batch(*intentions: pb.Intention) -> pb.IntentionBatch:
    return pb.IntentionBatch(store_id="s", intentions=intentions)


async def run(socket: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""
    command = [sys.executable, "-m", "gossipcontrol.client", "knowledge", *arguments, "--address", f"unix:{socket}"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


class Breaker:
    """A socket before the service's that breaks the first connection once so many bytes have gone through."""

    def __init__(self, path: Path, behind: Path, limit: int) -> None:
        self.path, self._behind, self._left = path, behind, limit
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.broken: list[OSError] = []
        """Ends of connections that did not end well, as those that it breaks do."""

    async def __aenter__(self) -> Breaker:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._behind)
        limited = self.connections == 1
        self._tasks |= {
            asyncio.create_task(self._pump(reader, inner_writer, writer, limited)),
            asyncio.create_task(self._pump(inner_reader, writer, inner_writer, False)),
        }

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


async def test_a_stream_that_breaks_is_resumed(socket: Path, tmp_path: Path) -> None:
    intentions = chain("a", 20_000)
    batches = [batch(*intentions[start : start + 100]) for start in range(0, 20_000, 100)]
    async with Breaker(tmp_path / "b.sock", socket, 400_000) as breaker:
        async with Client(f"unix:{breaker.path}", timeout=60.0) as client:
            answer = await client.knowledge.record(batches)
            rows = [row async for row in client.knowledge.rows("s")]
        assert breaker.connections >= 2
    assert answer.last_sequence == 200
    assert 0 < answer.recorded < 20_000, "it went on where it broke off"
    assert rows[0].held == 20_000


async def test_the_calls(socket: Path) -> None:
    async with Client(f"unix:{socket}") as client:
        knowledge = client.knowledge
        await knowledge.record([batch(*chain("alice", 3)), batch(*chain("bob", 1, b"alice1"))])
        assert [lag.behind async for lag in knowledge.lags("s")] == [1, 1]
        assert [place.hash for place in (await knowledge.frontier("s")).frontier] == [b"alice1"]
        assert (await knowledge.change_members("s", removed=["bob"])).active == 1
        assert [row.peer_id async for row in knowledge.rows("s", holds=b"alice1")] == ["alice", "bob"]
        with pytest.raises(ClientError, match="no intention of store x"):
            await knowledge.frontier("x")


async def test_the_command_prints_the_matrix_and_sentences(socket: Path) -> None:
    async with Client(f"unix:{socket}") as client:
        await client.knowledge.record([batch(*chain("alice", 3)), batch(*chain("raspi", 1, b"alice0"))])
    code, output, errors = await run(socket, "s")
    assert (code, errors) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    assert lines[:4] == [
        ["PEER", "alice", "raspi"],
        ["alice", "3", "-"],
        ["raspi", "1", "1"],
        ["all", "active", "1", "-"],
    ]
    assert "raspi: 2 behind alice, last proof" in output
    assert "3 intentions not yet held by all, 3 intentions at risk" in output
    code, output, _ = await run(socket, "s", "--holds", b"alice0".hex(), "--remove", "raspi", "--json")
    shown = json.loads(output)
    assert code == 0
    assert [(row["peer_id"], row.get("active", False)) for row in shown["peers"]] == [("alice", True), ("raspi", False)]
    assert shown["frontier"] == [{"author_id": "alice", "position": "3", "hash": b"alice2".hex()}]


async def test_the_commands_exit_codes(socket: Path) -> None:
    done = await asyncio.gather(run(socket, "unknown"), run(socket, "s", "--holds", "xyz"))
    assert [code for code, _, _ in done] == [1, 2]
    assert "no intention of store unknown" in done[0][2]
    assert "xyz is not hexadecimal" in done[1][2]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(999, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (86_400_000 * 3, "3 d")],
)
def test_ages(milliseconds: int, text: str) -> None:
    assert age(milliseconds) == text


def test_sentences() -> None:
    row = pb.PeerKnowledgeRow(peer_id="raspi", active=True, lives=1)
    authors = [pb.AuthorLag(author_id=name, behind=number) for number, name in enumerate("abcde", 1)]
    lag = pb.PeerLag(peer_id="raspi", behind=15, authors=authors, proof_age_ms=7_300_000)
    assert sentence(row, lag) == "raspi: 5 behind e, 4 behind d, 3 behind c, 3 behind 2 others, last proof 2 h ago"
    row = pb.PeerKnowledgeRow(peer_id="raspi", active=False, lives=2, forks=1)
    assert sentence(row, pb.PeerLag()) == (
        "raspi: provably holds everything, has lost its data (2 lives), has forked 1 time, no proof yet (removed)"
    )
