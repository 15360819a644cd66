"""An agent whose service has several replicas: what an owner says that was replaced counts no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gossipcontrol.agent import Agent
from gossipcontrol.agent.owner import Owner
from gossipcontrol.v1 import attach_pb2

from tests.agent.fake import FakeNode
from tests.agent.script import scripted
from tests.kit.until import until


def registered(epoch: int, cell: str = "c") -> attach_pb2.AttachResponse:
    answer = attach_pb2.Registered(session_id="s", next_report_ms=60_000, cell=cell)
    return attach_pb2.AttachResponse(registered=answer, owner_epoch=epoch)


def command(rejoin_id: str, epoch: int) -> attach_pb2.AttachResponse:
    rejoin = attach_pb2.RejoinCommand(rejoin_id=rejoin_id, attempt=1, store_id="a", deadline_ms=5000)
    return attach_pb2.AttachResponse(rejoin=rejoin, owner_epoch=epoch)


async def test_a_command_of_an_owner_that_was_replaced_is_not_carried_out(tmp_path: Path) -> None:
    node = FakeNode()
    async with scripted(tmp_path) as (script, address):
        script.first = registered(5)
        async with Agent(node, address) as agent:
            await asyncio.wait_for(agent.attached.wait(), 20)
            for rejoin_id, epoch in (("old", 4), ("same", 5), ("of a service that does not say", 0)):
                script.send(command(rejoin_id, epoch))
            await until(lambda: len(script.rejoined) == 2, "two are carried out")
            assert {one.rejoin_id for one in script.rejoined} == {"same", "of a service that does not say"}
            script.first = registered(4)
            script.hang_up()
            await until(lambda: len(script.registered) == 2, "it came again")
            await until(lambda: agent.stats.failed_attempts > 0, "it leaves an owner that was replaced")
            script.first = registered(4, "another cell")
            await until(lambda: agent.stats.attached == 2, "epochs of another cell are others")


def test_epochs_only_grow_within_one_cell() -> None:
    owner = Owner()
    owner.begin("", 0)
    owner.begin("c", 3)
    assert [owner.admits(epoch) for epoch in (3, 2, 0, 4, 3)] == [True, False, True, True, False]
    with pytest.raises(ConnectionError, match="it has epoch 3, another 4"):
        owner.begin("c", 3)
    owner.begin("d", 1)
