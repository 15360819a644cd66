"""One contract of ledgers, over the one in memory and over a real etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest
from gossipcontrol.server.state.etcd_client import MESSAGE_BYTES, EtcdAccess, EtcdClient
from gossipcontrol.server.state.etcd_ledger import PAGE_ENTRIES, EtcdLedger
from gossipcontrol.server.state.ledger import Cut, Fenced, Ledger
from gossipcontrol.server.state.ledger_entry import ENTRY_BYTES

from tests.kit.etcd import Etcd, needs_etcd, running_etcd
from tests.kit.memory_ledger import MemoryLedger


@asynccontextmanager
async def etcd_ledger(etcd: Etcd, cell: str = "test") -> AsyncGenerator[Ledger]:
    ledger = EtcdLedger(EtcdClient(EtcdAccess(endpoints=etcd.endpoints)), cell)
    try:
        yield ledger
    finally:
        await ledger.close()


async def read(ledger: Ledger, start: int = 1) -> list[tuple[int, bytes]]:
    return [one async for one in ledger.read(start)]


async def check_contract(one: Ledger, other: Ledger) -> None:
    """Whatever is behind it: two owners, of which each sees what the other did."""
    assert await one.last() == 0
    await one.append(1, b"one")
    await one.append(2, b"two")
    await one.append(2, b"two")  # an answer was lost, so the same is asked again
    assert await other.last() == 2
    with pytest.raises(Fenced):
        await other.append(2, b"claim")
    await other.append(3, b"claim")
    for seq, body in ((2, b"two"), (3, b"three"), (4, b"four"), (9, b"nine")):
        if seq != 4:
            with pytest.raises(Fenced):
                await one.append(seq, body)
    assert await read(one) == [(1, b"one"), (2, b"two"), (3, b"claim")]
    await other.cut(3)
    assert await read(one) == await read(one, 3) == [(3, b"claim")]
    assert await one.last() == 3
    async with aclosing(one.follow(4)) as stream, aclosing(one.follow(2)) as late:
        waiting = [asyncio.ensure_future(anext(stream))]
        await other.append(4, b"four")
        await other.append(5, b"five")
        assert [await waiting[0], await anext(stream)] == [(4, b"four"), (5, b"five")]
        waiting = [asyncio.ensure_future(anext(stream))]
        await other.cut(5)
        await other.append(6, b"six")
        assert await waiting[0] == (6, b"six"), "who has read what is cut off goes on"
        with pytest.raises(Cut):
            await anext(late)

    assert await one.register("lease") == (b"", 0)
    first = await one.swap("lease", b"mine", 0)
    assert first is not None
    assert await other.register("lease") == first
    assert await other.swap("lease", b"his", 0) is None
    second = await other.swap("lease", b"his", first.revision)
    assert second is not None
    assert second.revision > first.revision
    assert await other.swap("lease", b"his", first.revision) == second, "asked again"
    assert await one.swap("lease", b"mine", first.revision) is None

    for number in (1, 0, 10):
        await one.put_chunk("s-1", number, bytes([number]) * 1000)
    await one.put_chunk("s-10", 0, b"another")
    assert [chunk async for chunk in other.chunks("s-1")] == [bytes([number]) * 1000 for number in (0, 1, 10)]
    assert await one.chunk_names() == {"s-1", "s-10"}
    await other.delete_chunks("s-1")
    assert [chunk async for chunk in one.chunks("s-1")] == []
    assert [chunk async for chunk in one.chunks("s-10")] == [b"another"]


async def test_the_ledger_in_memory() -> None:
    shared = MemoryLedger()
    await check_contract(shared.link(), shared.link())


@needs_etcd
async def test_the_ledger_in_etcd(tmp_path: Path) -> None:
    async with running_etcd(tmp_path) as etcd, etcd_ledger(etcd) as one, etcd_ledger(etcd) as other:
        await check_contract(one, other)
        async with etcd_ledger(etcd, "another") as another:
            assert await another.last() == 0, "cells have nothing in common"


@needs_etcd
async def test_a_long_log_is_read_in_order(tmp_path: Path) -> None:
    async with running_etcd(tmp_path) as etcd, etcd_ledger(etcd) as ledger:
        for seq in range(1, 411):
            await ledger.append(seq, b"%d" % seq)
        assert await read(ledger, 3) == [(seq, b"%d" % seq) for seq in range(3, 411)]
        async with aclosing(ledger.follow(5)) as stream, aclosing(ledger.follow(5)) as slow:
            assert [await anext(stream) for _ in range(406)] == await read(ledger, 5)
            assert await anext(slow) == (5, b"5")
            await ledger.cut(400)
            with pytest.raises(Cut):
                [_ async for _ in slow]


@needs_etcd
async def test_a_watch_from_a_revision_that_etcd_has_forgotten_ends(tmp_path: Path) -> None:
    async with running_etcd(tmp_path) as etcd:
        client = EtcdClient(EtcdAccess(endpoints=etcd.endpoints))
        for number in range(3):
            await client.put(b"a", b"%d" % number)
        await client.compact(4)
        assert [one async for some in client.watch(b"a", b"b", 2) for one in some] == []
        await client.close()


@needs_etcd
@pytest.mark.waits(3)
async def test_appends_go_on_when_a_member_of_three_is_killed(tmp_path: Path) -> None:
    flags = ("--heartbeat-interval", "50", "--election-timeout", "500")
    async with (
        running_etcd(tmp_path, 3, *flags) as etcd,
        etcd_ledger(etcd) as ledger,
        etcd_ledger(etcd) as follower,
        AsyncExitStack() as stack,
    ):
        await ledger.append(1, b"1")
        stream = await stack.enter_async_context(aclosing(follower.follow(1)))
        for killed in range(3):
            await etcd.kill(killed)
            for seq in (2 + 2 * killed, 3 + 2 * killed):
                await ledger.append(seq, b"%d" % seq)
                assert await anext(stream) == (seq - 1, b"%d" % (seq - 1))
            await etcd.start(killed)
        assert await read(ledger) == [(seq, b"%d" % seq) for seq in range(1, 8)]


def test_a_page_of_the_largest_entries_fits_into_one_answer() -> None:
    """Else a replica could never read them, and could not take over."""
    assert PAGE_ENTRIES * (ENTRY_BYTES + 1024) < MESSAGE_BYTES
