"""Sync-with-peer commands: carried out by the node, one per pair at a time, answered once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from gossipcontrol.agent import Capability, SyncFailedError
from gossipcontrol.agent.sync_executor import AT_ONCE, STALE, TIMEOUT, WAITING, SyncExecutor
from gossipcontrol.v1.attach_pb2 import SyncResult
from gossipcontrol.v1.liveness_pb2 import SyncWithPeer

from tests.agent.fake import FakeNode, running
from tests.agent.script import scripted
from tests.kit.until import until


def command(peer_id: str = "p", store_id: str = "a") -> SyncWithPeer:
    return SyncWithPeer(store_id=store_id, peer_id=peer_id, addresses=["192.0.2.9:1"])


async def result_of(executor: SyncExecutor) -> SyncResult:
    await until(lambda: executor.next_result() is not None, "there is a result")
    result = executor.next_result()
    assert result is not None
    executor.delivered(result)
    return result


async def test_a_command_reaches_the_node_and_its_result_the_service(tmp_path: Path) -> None:
    node = FakeNode()
    node.capabilities = (Capability.SYNC_WITH_PEER,)
    async with scripted(tmp_path) as (script, address), running(node, address) as watched:
        script.sync("a", "p", "192.0.2.9:1")
        assert (await script.until_synced(1))[0] == SyncResult(store_id="a", peer_id="p", ok=True)
        assert node.syncs == [("a", "p", ["192.0.2.9:1"])]
        assert [Capability(one) for one in script.registered[0].capabilities] == [Capability.SYNC_WITH_PEER]
        await until(lambda: bool(watched.told("sync")), "people are told")
        assert (watched.told("sync")[0].detail, watched.told("sync")[0].peer_id) == ("ok", "p")


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (SyncFailedError("p refused"), "p refused"),
        (SyncFailedError(), "the sync failed"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
async def test_a_failure_is_told_to_the_service(tmp_path: Path, failure: Exception, error: str) -> None:
    node = FakeNode()
    node.failure = failure
    async with scripted(tmp_path) as (script, address), running(node, address):
        script.sync("a", "p")
        assert (await script.until_synced(1))[0] == SyncResult(store_id="a", peer_id="p", error=error)


async def test_a_result_carries_the_number_of_the_newest_request() -> None:
    node, done = FakeNode(), asyncio.Event()
    executor = SyncExecutor(node, done.set)
    for nonce in (7, 8):
        executor.submit(SyncWithPeer(store_id="a", peer_id="p", nonce=nonce))
    assert (await result_of(executor)).nonce == 8
    await executor.close()


async def test_a_result_of_a_broken_stream_is_delivered_once_on_the_next(tmp_path: Path) -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    async with scripted(tmp_path) as (script, address), running(node, address) as watched:
        script.sync("a", "p")
        await until(lambda: bool(node.syncs), "the sync is under way")
        script.hang_up()
        await until(lambda: bool(watched.told("detached")), "the stream is gone")
        node.held.set()
        watched.agent.network_changed()
        await script.until_synced(1)
        script.sync("a", "q")
        assert [result.peer_id for result in await script.until_synced(2)] == ["p", "q"]


async def test_a_pair_is_synced_once_at_a_time() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = SyncExecutor(node, lambda: None)
    for _ in range(3):
        executor.submit(command())
    executor.submit(command(store_id="b"))
    await until(lambda: len(node.syncs) == 2, "one for each store is under way")
    node.held.set()
    assert {(await result_of(executor)).store_id, (await result_of(executor)).store_id} == {"a", "b"}
    assert executor.next_result() is None
    executor.submit(command())
    await result_of(executor)
    assert len(node.syncs) == 3


async def test_few_are_carried_out_side_by_side_and_too_many_refused() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = SyncExecutor(node, lambda: None)
    for number in range(WAITING):
        executor.submit(command(f"p{number}"))
    await until(lambda: len(node.syncs) == AT_ONCE, "as many as may are under way")
    executor.submit(command("one more"))
    refused = await result_of(executor)
    assert (refused.peer_id, refused.error) == ("one more", f"{WAITING} syncs are under way already")
    assert len(node.syncs) == AT_ONCE
    node.held.set()
    for _ in range(WAITING):
        assert (await result_of(executor)).ok
    await executor.close()


async def test_a_peer_that_does_not_answer_is_given_up() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = SyncExecutor(node, lambda: None)
    executor.submit(command())
    result = await result_of(executor)
    assert (result.ok, result.error) == (False, f"not done within {TIMEOUT:g} s")


async def test_a_result_that_nobody_took_in_time_is_thrown_away() -> None:
    now = 100.0
    executor = SyncExecutor(FakeNode(), lambda: None, lambda: now)
    executor.submit(command())
    await until(lambda: executor.next_result() is not None, "there is a result")
    now += STALE + 0.1
    assert executor.next_result() is None


async def test_a_long_error_is_shortened_to_what_the_service_takes() -> None:
    node = FakeNode()
    node.failure = ValueError("é" * 5000)
    executor = SyncExecutor(node, lambda: None)
    executor.submit(command())
    assert len((await result_of(executor)).error.encode()) <= 1024


@pytest.mark.parametrize("kind", [SyncFailedError, ValueError])
async def test_an_error_of_odd_characters_is_told_all_the_same(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is logged goes into pytest's report, which must be encodable.
    monkeypatch.setattr(logging.getLogger("gossipcontrol.agent"), "disabled", True)
    node = FakeNode()
    node.failure = kind("odd \ud800")
    executor = SyncExecutor(node, lambda: None)
    executor.submit(command())
    assert (await result_of(executor)).error.endswith("odd ?")


async def test_closing_stops_what_is_under_way() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = SyncExecutor(node, lambda: None)
    executor.submit(command())
    await until(lambda: bool(node.syncs), "it is under way")
    await executor.close()
    assert executor.next_result() is None
