"""A client that does what no honest one does, step by step, while others are served."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc, liveness_pb2

PACE = 0.02
"""Seconds between two steps: the books are tried, not the processor."""
HELD = 100
"""Most streams that it keeps open."""
STEP_TIMEOUT = 10.0
STRANGER = "stranger-"
"""How the ids of its nodes begin."""


class HostileClient:
    """Reports and rejoins of invented nodes, streams that replace each other or say nothing, watches, resets."""

    def __init__(self, address: str) -> None:
        self.outcomes: Counter[str] = Counter()
        """How its steps ended."""
        self._channel = open_channel(address)
        self._stub: gossip_control_pb2_grpc.GossipControlAsyncStub = gossip_control_pb2_grpc.GossipControlStub(
            self._channel
        )
        self._held: list[grpc.aio.Call] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> HostileClient:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._let_go()
        await self._channel.close()

    async def _go_on(self) -> None:
        steps: tuple[Callable[[], Awaitable[object]], ...] = (
            self._report, self._park, self._replace, self._say_nothing, self._watch, self._reset,
        )  # fmt: skip
        while True:
            for step in steps:
                try:
                    async with asyncio.timeout(STEP_TIMEOUT):
                        await step()
                    self.outcomes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    self.outcomes[error.code().name] += 1
                except (TimeoutError, asyncio.InvalidStateError) as error:
                    self.outcomes[type(error).__name__] += 1
                if len(self._held) > HELD:
                    self._let_go()
                await asyncio.sleep(PACE)

    async def _report(self) -> None:
        """Reports of invented nodes about invented peers in invented stores."""
        heard = liveness_pb2.PeersHeard(peer_ids=[_name() for _ in range(100)], heard_ages_ms=[1] * 100)
        reports = [liveness_pb2.LivenessReport(node_id=_name(), store_id=_name(), heard=heard) for _ in range(10)]
        await self._stub.PeerLiveness(gossip_control_pb2.PeerLivenessRequest(reports=reports), timeout=STEP_TIMEOUT)

    async def _park(self) -> None:
        """Rejoins of invented nodes in many stores."""
        request = gossip_control_pb2.RejoinRequest(
            request_id=_name(), node_id=_name(), store_ids=[f"s{number}" for number in range(50)], park_unknown=True
        )
        await self._stub.Rejoin(request, timeout=STEP_TIMEOUT)

    async def _replace(self) -> None:
        """Another stream of one node, of which it reads one frame; then its host's network changes."""
        node_id = f"{STRANGER}replaced"
        call = self._stub.Attach()
        self._held.append(call)
        register = attach_pb2.Register(node_id=node_id, host_id=node_id, store_ids=["a", "b"])
        await call.write(attach_pb2.AttachRequest(register=register))
        await call.read()
        change = gossip_control_pb2.ReportNetworkChangeRequest(
            host_id=node_id, kind=gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED, boot_id=_name(), generation=1
        )
        await self._stub.ReportNetworkChange(change, timeout=STEP_TIMEOUT)

    async def _say_nothing(self) -> None:
        """A stream that never registers."""
        call = self._stub.Attach()
        self._held.append(call)
        with suppress(TimeoutError):
            async with asyncio.timeout(PACE):
                await call.wait_for_connection()

    async def _watch(self) -> None:
        """A subscription to a store that does not exist."""
        call = self._stub.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id=_name()))
        self._held.append(call)
        await call.read()

    async def _reset(self) -> None:
        """Calls that end as they begin."""
        for _ in range(20):
            self._stub.PeerLiveness(gossip_control_pb2.PeerLivenessRequest()).cancel()

    def _let_go(self) -> None:
        for call in self._held:
            call.cancel()
        self._held.clear()


def is_stranger(rejoin: decision_pb2.Rejoin) -> bool:
    """Whether a rejoin is one of an invented node."""
    return rejoin.node_id.startswith(STRANGER)


def _name() -> str:
    return f"{STRANGER}{uuid.uuid4().hex}"
