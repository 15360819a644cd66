"""Replicas as processes of their own, and clients that look for the one that serves."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
            await self.replicas[one].wait_for("standing by", 90)


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
                await one.wait_for("serving", 90)
        made = Cluster(replicas)
        await made.until_standing_by(*list(replicas)[1:])
        yield made


@dataclass
class Asked:
    """What clients were told."""

    answers: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The rejoins by the request id of each trigger that was acknowledged."""
    instants: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When each of them was, by the monotonic clock, and by which replica."""
    refused: int = 0
    """Calls that had to be made again."""

    def first_after(self, instant: float, other_than: str) -> float | None:
        """The first acknowledgement after an instant that is not this replica's; None: there is none yet."""
        found = (at for at, address in reversed(self.instants) if at > instant and address != other_than)
        return min(found, default=None)


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

    async def lost(self) -> list[str]:
        """Acknowledged triggers that the owner does not know, or answers otherwise."""
        found: list[str] = []
        for request_id, answer in list(self.asked.answers.items()):
            response, _ = await self._ask(request_id)
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
        while True:
            answer, address = await self._ask(request_id := str(uuid.uuid4()))
            self.asked.answers[request_id] = tuple(one.rejoin_id for one in answer.decisions)
            self.asked.instants.append((time.monotonic(), address))
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))

    async def _ask(self, request_id: str) -> tuple[gossip_control_pb2.RejoinResponse, str]:
        """Ask one replica after the other, beginning with the last that answered; the answer, and whose it is."""
        request = gossip_control_pb2.RejoinRequest(
            request_id=request_id, node_id=self._node(request_id), park_unknown=True
        )
        while True:
            address = self._addresses[0]
            try:
                return await self._stubs[address].Rejoin(request, timeout=CALL_TIME), address
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN:
                    raise
            self.asked.refused += 1
            if address == self._addresses[0]:
                self._addresses.append(self._addresses.pop(0))
            await asyncio.sleep(0.02)

    async def _agent(self, node_id: str) -> None:
        register = attach_pb2.Register(node_id=node_id, store_ids=["s"], host_id=f"h-{node_id}")
        for address in itertools.cycle(list(self._addresses)):
            call = self._stubs[address].Attach()
            try:
                await call.write(attach_pb2.AttachRequest(register=register))
                async for frame in call:
                    self.attached[node_id] = address
                    if frame.WhichOneof("frame") == "rejoin":
                        await self._carry_out(address, frame.rejoin, call)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # another replica may serve
            finally:
                call.cancel()
                self.attached.pop(node_id, None)
            await asyncio.sleep(random.uniform(0.02, 0.1))

    async def _carry_out(self, address: str, command: attach_pb2.RejoinCommand, call: Any) -> None:
        self.commands.append((time.monotonic(), address, command.rejoin_id, command.attempt))
        result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt, ok=True)
        proof = attach_pb2.NeighborEvent(store_id=command.store_id, peer_id="p", up=True)
        await call.write(attach_pb2.AttachRequest(rejoin_result=result))
        await call.write(attach_pb2.AttachRequest(neighbor=proof))


_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),
]
