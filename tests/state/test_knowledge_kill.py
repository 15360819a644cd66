"""Kill -9 of the real service under streams of intentions: nothing acknowledged is lost, nothing is counted twice.

``GOSSIPCONTROL_KILLS=200`` runs the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from gossipcontrol.client import Client, Intention, IntentionBatch

from tests.kit.process import service
from tests.kit.until import DEADLINE, until

KILLS = int(os.environ.get("GOSSIPCONTROL_KILLS", "4"))
AUTHORS = ("alice", "bob", "carol")
BATCHES, EACH = 20, 50
"""What one call records."""
ENOUGH = 60_000
"""Intentions whose log is longer than a snapshot waits for, an eighth of the file at most."""
AHEAD = 5000
"""Most intentions that an author is ahead of another: what only one holds cannot be forgotten."""
CATCH_UP = 120.0
"""Seconds within which the others catch up, whatever is killed meanwhile."""


class Writer:
    """An author that writes without end; each intention depends on what the others had acknowledged."""

    def __init__(self, author_id: str, client: Client, acknowledged: dict[str, int]) -> None:
        self._author_id = author_id
        self._client = client
        self._acknowledged = acknowledged
        self._written = 0
        self.writes = True

    async def run(self) -> None:
        while self.writes:
            await until(self._may_write, "the other authors catch up", within=CATCH_UP)
            batches = [self._batch() for _ in range(BATCHES)]
            # The client resumes a stream that broke until it has been acknowledged whole.
            answer = await self._client.knowledge.record(batches)
            assert answer.last_sequence == BATCHES
            self._acknowledged[self._author_id] = self._written

    def _may_write(self) -> bool:
        return self._written <= min(self._acknowledged.values()) + AHEAD

    def _batch(self) -> IntentionBatch:
        seen = tuple(name(other, at) for other, at in self._acknowledged.items() if other != self._author_id and at)
        intentions: list[Intention] = []
        for _ in range(EACH):
            self._written += 1
            before = name(self._author_id, self._written - 1) if self._written > 1 else b""
            one = Intention(
                author_id=self._author_id, hash=name(self._author_id, self._written), store_prev=before,
                dependencies=seen,
            )  # fmt: skip
            intentions.append(one)
        return IntentionBatch("s", tuple(intentions))


def name(author_id: str, count: int) -> bytes:
    return f"{author_id:>20}{count:012}".encode()


async def positions(client: Client) -> dict[str, dict[str, tuple[int, bytes]]]:
    """By peer and author, the position that the peer provably holds, and its hash."""
    return {
        row.peer_id: {place.author_id: (place.position, place.hash) for place in row.positions}
        async for row in client.knowledge.rows("s")
    }


@pytest.mark.waits(25)
@pytest.mark.timeout(480 + KILLS * 30)
async def test_intentions_survive_kills(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {author_id: 0 for author_id in AUTHORS}  # noqa: C420 - for the type of the keys
    process = service(
        None, tmp_path, log_level="warning", knowledge_keep="3000", knowledge_forget_every="1000",
        knowledge_name_limit="1000", state_max_bytes=str(16 << 20),
    )  # fmt: skip
    async with process, Client(f"unix:{tmp_path}/gossipcontrol.sock", timeout=2 * DEADLINE) as client:
        writers = [Writer(author_id, client, acknowledged) for author_id in AUTHORS]
        tasks = [asyncio.create_task(writer.run()) for writer in writers]
        for kill in range(1, KILLS + 1):
            await until_more(acknowledged, tasks)
            await asyncio.sleep(chance.random())
            before = dict(acknowledged)
            await process.stop(signal.SIGKILL)
            await process.start()
            for author_id, found in (await positions(client)).items():
                position, hash_ = found[author_id]
                assert position >= before[author_id], seed
                assert hash_ == name(author_id, position)
            print(f"kill {kill} of {KILLS}: {sum(acknowledged.values())} intentions acknowledged", flush=True)
        await until(lambda: sum(acknowledged.values()) >= ENOUGH, "enough for a snapshot was written", within=CATCH_UP)
        for writer in writers:
            writer.writes = False
        await asyncio.gather(*tasks)
        last = await positions(client)
        lags = {lag.peer_id: lag.behind async for lag in client.knowledge.lags("s")}
        assert {one: last[one][one] for one in AUTHORS} == {
            one: (count, name(one, count)) for one, count in acknowledged.items()
        }
        for one in AUTHORS:
            held = sum(last[one][other][0] for other in AUTHORS)
            assert lags[one] == sum(acknowledged.values()) - held, "none is counted twice"
        await process.stop()
        with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
            assert connection.execute("SELECT count(*) FROM store").fetchone() == (1,), "logs were compacted meanwhile"
    print(f"seed {seed}: {KILLS} kills, {acknowledged}")


async def until_more(acknowledged: dict[str, int], tasks: list[asyncio.Task[None]]) -> None:
    """Wait until something further is acknowledged; fails with the writer that failed."""
    before = sum(acknowledged.values())

    def has_more() -> bool:
        for task in tasks:
            if task.done():
                task.result()
        return sum(acknowledged.values()) > before

    await until(has_more, "something further is acknowledged", within=2 * DEADLINE)
