"""What a call leaves goes at once, however it ended: it waits for no look at everything by Python's collector."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import grpc
import pytest
from gossipcontrol.server.access.gate import Caller
from gossipcontrol.server.rpc.session import Session
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.attach_pb2 import Goodbye
from gossipcontrol.v1.gossip_control_pb2 import RejoinRequest, WatchPeersRequest
from grpc.experimental.aio import EOF

from tests.kit.service_lab import BareAgent, refusal, rejoin
from tests.kit.until import until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
CALLS = 5
GRPC = "_ServicerContext"
"""What gRPC makes for a call; it leads to some 50 kB of the C library."""


def nothing_is_left() -> bool:
    kinds = (type(one) for one in cast("list[object]", gc.get_objects()))
    return not any(kind in {Caller, Session} or kind.__name__ == GRPC for kind in kinds)


async def attach(stub: Stub) -> list[BareAgent]:
    agents = [BareAgent(stub) for _ in range(CALLS)]
    for number, agent in enumerate(agents):
        await agent.register(f"n{number}", "a")
    return agents


async def cancel_agents(stub: Stub) -> None:
    for agent in await attach(stub):
        agent.call.cancel()


async def end_agents(stub: Stub) -> None:
    for agent in await attach(stub):
        await agent.call.done_writing()
        await agent.ended()


async def say_goodbye(stub: Stub) -> None:
    for agent in await attach(stub):
        await agent.send(goodbye=Goodbye())
        await agent.ended()


async def replace_agents(stub: Stub) -> None:
    before, now = await attach(stub), await attach(stub)
    for agent in before:
        assert (await agent.ended())[0] is grpc.StatusCode.ABORTED
    for agent in now:
        agent.call.cancel()


async def refuse_agents(stub: Stub) -> None:
    for _ in range(CALLS):
        agent = BareAgent(stub)
        await agent.send(goodbye=Goodbye())
        assert (await agent.ended())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def cancel_watchers(stub: Stub) -> None:
    for _ in range(CALLS):
        watching = stub.WatchPeers(WatchPeersRequest(store_id="a"))
        assert await watching.read() is not EOF
        watching.cancel()


async def refuse_watchers(stub: Stub) -> None:
    for _ in range(CALLS):
        watching = stub.WatchPeers(WatchPeersRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="store_id"):
            await watching.read()


async def refuse_calls(stub: Stub) -> None:
    for _ in range(CALLS):
        await refusal(stub.Rejoin(RejoinRequest()))


async def answer_calls(stub: Stub) -> None:
    for number in range(CALLS):
        await stub.Rejoin(rejoin(f"m{number}", "a"))


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    "work",
    [
        cancel_agents, end_agents, say_goodbye, replace_agents, refuse_agents, cancel_watchers, refuse_watchers,
        refuse_calls, answer_calls,
    ],
)  # fmt: skip
async def test_no_call_leaves_what_only_a_collector_finds(stub: Stub, work: Callable[[Stub], Awaitable[None]]) -> None:
    """Streams that ended left 50 kB each: after a fleet had come back, a look at everything, of half a second."""
    await work(stub)
    await until(nothing_is_left, f"nothing is left after {work.__name__}")
