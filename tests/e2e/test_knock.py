"""A node that is deaf for good is cured by another node's dial, which the service orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent import Agent
from gossipcontrol.client import Cause, Client, Outcome, RejoinRecord, Rung
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.topic import GossipEvent
from gossipcontrol.server.core.presence.parameter import LivenessParameters

from tests.e2e.test_redial import GIVEN_UP, NOWHERE
from tests.kit.plain_node import PlainNode
from tests.kit.service_lab import LONG, Service, config, deciding, serving
from tests.kit.until import until

STORE = "a"
PROOF_TIME = 3.0
"""Seconds; on a busy machine a dial between two nodes of one process takes a part of one."""


class Device:
    """A plain node; its agent, once there is one, is told what the node hears."""

    def __init__(self) -> None:
        self.node: IrohNode
        self.agent: Agent | None = None

    def on_event(self, event: GossipEvent) -> None:
        """Tell the agent."""
        if self.agent is not None and event.what == "up":
            self.agent.neighbor_up(event.store_id, event.peer_id)
        elif self.agent is not None and event.what == "down":
            self.agent.neighbor_down(event.store_id, event.peer_id)


@asynccontextmanager
async def two_devices() -> AsyncGenerator[tuple[Device, Device]]:
    """The first has dialled the second in vain; the second has dialled nobody."""
    made = (Device(), Device())
    async with AsyncExitStack() as stack:
        for one in made:
            one.node = await PlainNode.start(one.on_event)
            stack.push_async_callback(one.node.close)
        await made[0].node.know(made[1].node.node_id, [NOWHERE])
        for one in made:
            await one.node.join(STORE)
        await asyncio.sleep(GIVEN_UP)  # iroh-gossip reports no failed dial, so there is nothing to wait for
        yield made


@asynccontextmanager
async def attached(service: Service, *devices: Device) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        for one in devices:
            one.agent = Agent(one.node, service.address, host_id=f"host-{one.node.node_id[:4]}")
            await stack.enter_async_context(one.agent)
            await one.agent.attached.wait()
        yield


@pytest.mark.waits(40)
async def test_another_node_is_asked_to_rejoin_towards_one_that_is_deaf_and_its_dial_cures_it(tmp_path: Path) -> None:
    """iroh-gossip issue 71 and pull request 159: a peer whose dial failed is never dialled again."""
    patient = LivenessParameters(isolated_after=LONG)  # else both would be told to rejoin
    settings = config(tmp_path, deciding=deciding(PROOF_TIME), liveness=patient)
    async with (
        two_devices() as (deaf, other),
        serving(settings) as service,
        Client(service.address) as client,
        attached(service, deaf, other),
    ):
        await client.rejoin(deaf.node.node_id, [STORE])

        async def proved() -> list[RejoinRecord]:
            return [one async for one in client.list_rejoins() if one.outcome is Outcome.VERIFIED]

        async def is_cured() -> bool:
            return {one.node_id for one in await proved()} == {deaf.node.node_id, other.node.node_id}

        await until(is_cured, "both rejoins are proved")
        own, asked = sorted(await proved(), key=lambda one: one.node_id != deaf.node.node_id)
        assert own.rung is Rung.ASK_PEER, "its own dial was in vain"
        assert {one.cause for one in asked.triggers} == {Cause.ASKED}
        assert not service.lines("restart advised")
