"""Replicas as processes of their own, and clients that look for the one that serves."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, gossip_control_pb2_grpc

from tests.kit.ports import free_ports
from tests.kit.process import Process, service
from tests.kit.until import until

CALL_TIME = 2.0
"""Seconds that a client waits for an answer before it asks another replica."""


@dataclass
class Cluster:
    """Some replicas, by their addresses."""

    replicas: dict[str, Process]

    def owner(self) -> str:
        """The address of the replica that became the owner last; empty: none did."""
        found = [(line["ts"], address) for address, one in self.replicas.items() for line in one.all("serving")]
        return max(found)[1] if found else ""

    async def until_owner(self, other_than: str = "", within: float = 30.0) -> str:
        """Wait until a replica serves that is not this one."""
        await until(lambda: self.owner() not in ("", other_than), "another replica serves", within)
        return self.owner()

    async def until_standing_by(self, *addresses: str) -> None:
        """Wait until these replicas have seen who serves."""
        for one in addresses:
            await self.replicas[one].wait_for("standing by", 30)


@asynccontextmanager
async def cluster(directory: Path, endpoints: list[str], count: int, **settings: str) -> AsyncGenerator[Cluster]:
    """Run so many replicas, of which the first serves."""
    replicas: dict[str, Process] = {}
    async with AsyncExitStack() as stack:
        for number, port in enumerate(free_ports(count)):
            place = directory / f"replica{number}"
            place.mkdir()
            address = f"127.0.0.1:{port}"
            settings |= {"listen_tcp": address, "etcd_address": address, "etcd_endpoints": ",".join(endpoints)}
            one = service(None, place, log_to=None, state_backend="etcd", **settings)
            replicas[address] = await stack.enter_async_context(one)
            if not number:
                await one.wait_for("serving", 30)
        made = Cluster(replicas)
        await made.until_standing_by(*list(replicas)[1:])
        yield made


@dataclass
class Asked:
    """What clients were told."""

    answers: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The rejoins by the request id of each trigger that was acknowledged."""
    instants: list[float] = field(default_factory=list[float])
    """When each of them was, by the monotonic clock."""
    refused: int = 0
    """Calls that had to be made again."""

    def longest_gap(self) -> float:
        """Seconds without an acknowledgement."""
        return max((after - before for before, after in itertools.pairwise(self.instants)), default=0.0)


class Fleet:
    """Nodes with agents that prove every rejoin, and clients that ask for some, all of which look for the owner."""

    def __init__(self, addresses: list[str], nodes: list[str], clients: int, pause: float = 0.0) -> None:
        self.asked = Asked()
        self.commands: list[tuple[float, str, str, int]] = []
        """When they came (monotonic), from which replica, rejoin and attempt."""
        self._addresses = addresses
        self._nodes = nodes
        self._pause = pause
        self._clients = clients
        self._channels = {address: grpc.aio.insecure_channel(address, _OPTIONS) for address in addresses}
        self._stubs = {
            one: gossip_control_pb2_grpc.GossipControlStub(channel) for one, channel in self._channels.items()
        }
        self._tasks: list[asyncio.Task[None]] = []
        self.attached: dict[str, str] = {}
        """The replica that each node is attached to."""

    async def __aenter__(self) -> Fleet:
        work = [self._agent(node_id) for node_id in self._nodes] + [self._client() for _ in range(self._clients)]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close()

    async def until_more(self, count: int) -> None:
        """Wait until so many more triggers are acknowledged."""
        wanted = len(self.asked.answers) + count
        await until(lambda: len(self.asked.answers) >= wanted, f"{count} more triggers are acknowledged", 60)

    async def lost(self, address: str) -> list[str]:
        """Acknowledged triggers that this replica does not know, or answers otherwise."""
        found: list[str] = []
        for request_id, answer in list(self.asked.answers.items()):
            request = gossip_control_pb2.RejoinRequest(request_id=request_id, node_id=self._node(request_id))
            response = await self._stubs[address].Rejoin(request, timeout=20)
            if not response.replayed or tuple(one.rejoin_id for one in response.decisions) != answer:
                found.append(request_id)
        return found

    def ask_only(self, address: str) -> asyncio.Task[gossip_control_pb2.RejoinResponse]:
        """Ask one replica, whoever owns the state."""
        request = gossip_control_pb2.RejoinRequest(request_id=str(uuid.uuid4()), node_id=self._nodes[0])

        async def ask() -> gossip_control_pb2.RejoinResponse:
            return await self._stubs[address].Rejoin(request, timeout=60)

        return asyncio.create_task(ask())

    def _node(self, request_id: str) -> str:
        return self._nodes[int(request_id[:4], 16) % len(self._nodes)]

    async def _client(self) -> None:
        turn = itertools.cycle(self._addresses)
        address = next(turn)
        while True:
            request_id = str(uuid.uuid4())
            request = gossip_control_pb2.RejoinRequest(request_id=request_id, node_id=self._node(request_id))
            request.park_unknown = True
            while True:
                try:
                    answer = await self._stubs[address].Rejoin(request, timeout=CALL_TIME)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _AGAIN:
                        raise
                    self.asked.refused += 1
                    address = next(turn)
                    await asyncio.sleep(0.02)
                else:
                    self.asked.answers[request_id] = tuple(one.rejoin_id for one in answer.decisions)
                    self.asked.instants.append(time.monotonic())
                    break
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))

    async def _agent(self, node_id: str) -> None:
        for address in itertools.cycle(self._addresses):
            frames: asyncio.Queue[attach_pb2.AttachRequest] = asyncio.Queue()
            register = attach_pb2.Register(node_id=node_id, store_ids=["s"], host_id=f"h-{node_id}")
            frames.put_nowait(attach_pb2.AttachRequest(register=register))
            with suppress(grpc.aio.AioRpcError):
                async for frame in self._stubs[address].Attach(_sent(frames)):
                    self.attached[node_id] = address
                    if frame.WhichOneof("frame") == "rejoin":
                        self._carry_out(address, frame.rejoin, frames)
            self.attached.pop(node_id, None)
            await asyncio.sleep(random.uniform(0.02, 0.1))

    def _carry_out(
        self, address: str, command: attach_pb2.RejoinCommand, frames: asyncio.Queue[attach_pb2.AttachRequest]
    ) -> None:
        self.commands.append((time.monotonic(), address, command.rejoin_id, command.attempt))
        result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt, ok=True)
        proof = attach_pb2.NeighborEvent(store_id=command.store_id, peer_id="p", up=True)
        frames.put_nowait(attach_pb2.AttachRequest(rejoin_result=result))
        frames.put_nowait(attach_pb2.AttachRequest(neighbor=proof))


_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),
]


async def _sent(frames: asyncio.Queue[attach_pb2.AttachRequest]) -> AsyncIterator[attach_pb2.AttachRequest]:
    while True:
        yield await frames.get()
