"""Replicas as processes of their own, and clients that look for the one that serves."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from gossipcontrol.client import Client, RejoinTrigger, TriggerResult, call
from gossipcontrol.client.channel import open_channel
from gossipcontrol.client.retry import LONGEST_WAIT
from gossipcontrol.client.servers import Search, Servers
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2_grpc

from tests.kit.network import Host
from tests.kit.ports import free_ports
from tests.kit.process import Process, service
from tests.kit.until import until

CALL_TIME = 60.0
"""Seconds within which a trigger must be answered, over as many takeovers as there are."""


@dataclass
class Cluster:
    """Some replicas, by their addresses."""

    replicas: dict[str, Process]

    def owner(self) -> str:
        """The address of the replica that became the owner last; empty: none did."""
        newest, found = 0, ""
        for address, one in self.replicas.items():
            epoch = 0
            for line in one.lines:
                if line["event"] == "owner":
                    epoch = line["epoch"]
                elif line["event"] == "serving" and epoch > newest:
                    newest, found = epoch, address
        return found

    async def until_owner(self, other_than: str = "", within: float = 30.0) -> str:
        """Wait until a replica serves that is not this one."""
        await until(lambda: self.owner() not in ("", other_than), "another replica serves", within)
        return self.owner()

    async def until_standing_by(self, *addresses: str) -> None:
        """Wait until these replicas have seen who serves."""
        for one in addresses:
            await self.replicas[one].wait_for("standing by", 90)


@asynccontextmanager
async def cluster(
    directory: Path, endpoints: list[str], count: int, hosts: Sequence[Host] = (), /, **settings: str
) -> AsyncGenerator[Cluster]:
    """Run so many replicas, on hosts if any, of which the first serves."""
    replicas: dict[str, Process] = {}
    async with AsyncExitStack() as stack:
        for number, port in enumerate(free_ports(count)):
            place = directory / f"replica{number}"
            place.mkdir()
            address = local = f"127.0.0.1:{port}"
            if host := hosts[number] if hosts else None:
                await host.publish(port)  # plaintext is served on loopback only
                address = f"{host.address}:{port}"
            settings |= {"listen_tcp": local, "etcd_address": address, "etcd_endpoints": ",".join(endpoints)}
            one = service(host, place, log_to=None, state_backend="etcd", **settings)
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
    waits: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When each of them was asked for, by the monotonic clock, and the seconds until it was acknowledged."""

    def first_after(self, instant: float, other_than: str) -> float | None:
        """The first acknowledgement after an instant that is not this replica's; None: there is none yet."""
        return min((at for at, address in self._since(instant) if address != other_than), default=None)

    def since(self, instant: float, address: str) -> list[float]:
        """The acknowledgements of this replica after an instant, the latest first."""
        return [at for at, one in self._since(instant) if one == address]

    def _since(self, instant: float) -> Iterator[tuple[float, str]]:
        return takewhile(lambda one: one[0] > instant, reversed(self.instants))


class Carried(NamedTuple):
    """A command that a node carried out."""

    at: float
    """When it came (monotonic)."""
    address: str
    """Of the replica that sent it."""
    epoch: int
    """Of that owner: a replica that is killed may own the state again."""
    rejoin_id: str
    attempt: int


class Fleet:
    """Nodes with agents that prove every rejoin, and clients that ask for some, all of which look for the owner.

    A trigger that a client cannot get answered fails the test: a takeover is latency, and no error.
    """

    def __init__(self, addresses: list[str], nodes: list[str], clients: int, pause: float = 0.0) -> None:
        self.asked = Asked()
        self.commands: list[Carried] = []
        self._addresses = ",".join(addresses)
        self._nodes = nodes
        self._pause = pause
        self._clients = [Client(self._addresses, timeout=CALL_TIME) for _ in range(clients)]
        self._tasks: list[asyncio.Task[None]] = []
        self.attached: dict[str, str] = {}
        """The replica that each node is attached to."""

    async def __aenter__(self) -> Fleet:
        work = [self._agent(node_id) for node_id in self._nodes] + [self._ask_on(client) for client in self._clients]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.close()
        failed = [one for one in ended if isinstance(one, Exception)]
        assert failed == [], f"a client failed: {failed}"

    async def until_more(self, count: int) -> None:
        """Wait until so many more triggers are acknowledged."""
        wanted = len(self.asked.answers) + count
        await until(lambda: len(self.asked.answers) >= wanted, f"{count} more triggers are acknowledged", 60)

    @asynccontextmanager
    async def loyal(self, address: str, clients: int = 2) -> AsyncGenerator[None]:
        """Meanwhile clients ask as well that know only this replica; it may refuse them."""
        asking = [Client(address, timeout=CALL_TIME) for _ in range(clients)]
        tasks = [asyncio.create_task(self._ask_on(client)) for client in asking]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in asking:
                await client.close()

    async def lost(self, before: int = 0) -> list[str]:
        """Acknowledged triggers that the owner does not know, or answers otherwise; ``before``: looked at already."""
        found: list[str] = []
        left = iter(list(self.asked.answers.items())[before:])

        async def ask(client: Client) -> None:
            for request_id, answer in left:
                result = await self._ask(client, request_id)
                if not result.replayed or tuple(one.rejoin_id for one in result.decisions) != answer:
                    found.append(request_id)

        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(ask(client))
        return found

    def repeated(self) -> int:
        """How many commands one owner sent twice, under the same attempt."""
        return len(self.commands) - len({one[1:] for one in self.commands})

    def ask_only(self, address: str) -> asyncio.Task[TriggerResult]:
        """Ask one replica, whoever owns the state, and once."""
        trigger = call.rejoin(RejoinTrigger(node_id=self._nodes[0]))

        async def ask() -> TriggerResult:
            async with open_channel(address) as channel:
                return trigger.decode(await trigger.method(channel)(trigger.request, timeout=60))

        return asyncio.create_task(ask())

    def _node(self, request_id: str) -> str:
        return self._nodes[int(request_id[:4], 16) % len(self._nodes)]

    async def _ask_on(self, client: Client) -> None:
        while True:
            began_at = time.monotonic()
            result = await self._ask(client, request_id := str(uuid.uuid4()))
            self.asked.waits.append((began_at, time.monotonic() - began_at))
            self.asked.answers[request_id] = tuple(one.rejoin_id for one in result.decisions)
            self.asked.instants.append((time.monotonic(), client.server))
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))

    async def _ask(self, client: Client, request_id: str) -> TriggerResult:
        return await client.rejoin(self._node(request_id), request_id=request_id, park=True)

    async def _agent(self, node_id: str) -> None:
        """Attach as agents do, but note whose each command is."""
        register = attach_pb2.Register(node_id=node_id, store_ids=["s"], host_id=f"h-{node_id}")
        search = Search(Servers(self._addresses), longest=LONGEST_WAIT)
        while True:
            address = search.server().address
            async with open_channel(address) as channel:
                attached: Any = gossip_control_pb2_grpc.GossipControlStub(channel).Attach()
                failure: grpc.RpcError | None = None
                try:
                    await attached.write(attach_pb2.AttachRequest(register=register))
                    async for frame in attached:
                        self.attached[node_id] = address
                        search.succeed()
                        if frame.WhichOneof("frame") == "rejoin":
                            await self._carry_out(address, frame, attached)
                except grpc.aio.AioRpcError as error:
                    failure = error
                except asyncio.InvalidStateError:
                    pass  # it ended while this wrote
                finally:
                    attached.cancel()
                    self.attached.pop(node_id, None)
            await asyncio.sleep(search.wait(failure))

    async def _carry_out(self, address: str, frame: attach_pb2.AttachResponse, call: Any) -> None:
        command, now = frame.rejoin, time.monotonic()
        self.commands.append(Carried(now, address, frame.owner_epoch, command.rejoin_id, command.attempt))
        result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt, ok=True)
        proof = attach_pb2.NeighborEvent(store_id=command.store_id, peer_id="p", up=True)
        await call.write(attach_pb2.AttachRequest(rejoin_result=result))
        await call.write(attach_pb2.AttachRequest(neighbor=proof))
