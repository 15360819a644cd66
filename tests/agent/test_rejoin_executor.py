"""Commands: each attempt is carried out once, within its deadline, and its result is kept until it is delivered."""

from __future__ import annotations

import asyncio
import logging

import pytest
from gossipcontrol.agent import rejoin_executor
from gossipcontrol.agent.node import RejoinFailedError
from gossipcontrol.agent.rejoin_executor import RejoinExecutor
from gossipcontrol.v1.attach_pb2 import RejoinCommand, RejoinResult

from tests.agent.fake import FakeNode
from tests.kit.until import until


def command(attempt: int = 1, deadline_ms: int = 5000) -> RejoinCommand:
    return RejoinCommand(rejoin_id="r", attempt=attempt, store_id="a", deadline_ms=deadline_ms)


async def result_of(executor: RejoinExecutor, attempt: int = 1) -> RejoinResult:
    await until(lambda: ("r", attempt) in executor.undelivered, "the result is there")
    return executor.undelivered.pop(("r", attempt))


async def test_a_command_that_comes_again_is_carried_out_once() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = RejoinExecutor(node, lambda: None)
    executor.submit(command())
    executor.submit(command())
    node.held.set()
    first = await result_of(executor)
    executor.submit(command())
    assert await result_of(executor) == first
    assert first.ok
    assert len(node.rejoins) == 1


async def test_a_further_attempt_is_carried_out() -> None:
    node = FakeNode()
    executor = RejoinExecutor(node, lambda: None)
    for attempt in (1, 2):
        executor.submit(command(attempt))
        assert (await result_of(executor, attempt)).attempt == attempt
    assert len(node.rejoins) == 2


async def test_a_node_that_takes_too_long_is_stopped_and_told() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = RejoinExecutor(node, lambda: None)
    executor.submit(command(deadline_ms=20))
    result = await result_of(executor)
    assert (result.ok, result.error, result.permanent) == (False, "not done within 0.02 s", False)


async def test_a_long_error_is_shortened_to_what_the_service_takes() -> None:
    node = FakeNode()
    node.failure = ValueError("é" * 5000)
    executor = RejoinExecutor(node, lambda: None)
    executor.submit(command())
    assert len((await result_of(executor)).error.encode()) <= 1024


@pytest.mark.parametrize("kind", [RejoinFailedError, ValueError])
async def test_an_error_of_odd_characters_is_told_all_the_same(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is logged goes into pytest's report, which must be encodable.
    monkeypatch.setattr(logging.getLogger("gossipcontrol.agent"), "disabled", True)
    node = FakeNode()
    node.failure = kind("odd \ud800")
    executor = RejoinExecutor(node, lambda: None)
    executor.submit(command())
    assert (await result_of(executor)).error.endswith("odd ?")


async def test_closing_stops_what_is_under_way() -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    executor = RejoinExecutor(node, lambda: None)
    executor.submit(command())
    await until(lambda: bool(node.rejoins), "it is under way")
    await executor.close()
    assert executor.undelivered == {}


async def test_what_is_under_way_is_remembered_however_many_came_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejoin_executor, "REMEMBERED", 2)
    node = FakeNode()
    node.held = asyncio.Event()
    executor = RejoinExecutor(node, lambda: None)
    for attempt in (1, 2, 3, 4, 1):
        executor.submit(command(attempt))
    node.held.set()
    await result_of(executor, 4)
    assert len(node.rejoins) == 4
