"""Kill -9 of the real service under real load: nothing acknowledged is lost, nothing starts twice within its window.

``GOSSIPCONTROL_KILLS=200`` runs the long form.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc

from bench.lab.process import Process, service

KILLS = int(os.environ.get("GOSSIPCONTROL_KILLS", "8"))
WINDOW = 2.0
"""Longer than a restart takes, so that a service which forgot its starts would start again too early."""
NODES = 6
STORES = ("a", "b")
SLACK = 0.5
"""Seconds by which commands may arrive nearer than they started: a noisy machine delivers the first late."""

KIND = gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED
Slot = tuple[str, str]
_STARTING = (
    decision_pb2.DECISION_KIND_STARTED,
    decision_pb2.DECISION_KIND_COALESCED,
    decision_pb2.DECISION_KIND_SCHEDULED,
    decision_pb2.DECISION_KIND_PARKED,
)


@dataclass
class Seen:
    """What clients and agents saw, in this process's time."""

    triggers: list[tuple[float, Slot, str]] = field(default_factory=list[tuple[float, Slot, str]])
    """When it was sent, its slot, the rejoin that its acknowledgement named."""
    starts: dict[Slot, list[tuple[float, str, int]]] = field(default_factory=lambda: defaultdict(list))
    kinds: Counter[str] = field(default_factory=Counter[str])
    broken: int = 0
    """Calls that the kill cut off: nothing was acknowledged."""


class Load:
    """Agents that prove every rejoin, and clients that ask for some, over one real channel."""

    def __init__(self, address: str, seen: Seen, chance: random.Random) -> None:
        self._channel = grpc.aio.insecure_channel(
            address, options=[("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]
        )
        self._stub = gossip_control_pb2_grpc.GossipControlStub(self._channel)
        self._seen = seen
        self._chance = chance
        self._tasks: list[asyncio.Task[None]] = []
        self.asking = True

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._agent(f"n{number}")) for number in range(NODES)]
        self._tasks += [asyncio.create_task(self._client()) for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def records(self) -> dict[str, gossip_control_pb2.ListRejoinsResponse]:
        """Every rejoin that the service knows, by id, each alone in its page."""
        found: dict[str, gossip_control_pb2.ListRejoinsResponse] = {}
        token = ""
        while True:
            request = gossip_control_pb2.ListRejoinsRequest(page_size=1000, page_token=token)
            page = await self._stub.ListRejoins(request, wait_for_ready=True, timeout=20)
            for rejoin in page.rejoins:
                found[rejoin.rejoin_id] = gossip_control_pb2.ListRejoinsResponse(rejoins=[rejoin])
            if not (token := page.next_page_token):
                return found

    async def _agent(self, node_id: str) -> None:
        while True:
            frames: asyncio.Queue[attach_pb2.AttachRequest] = asyncio.Queue()
            frames.put_nowait(
                attach_pb2.AttachRequest(
                    register=attach_pb2.Register(node_id=node_id, store_ids=STORES, host_id=f"h-{node_id}")
                )
            )
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for frame in self._stub.Attach(_sent(frames), wait_for_ready=True):
                    if frame.WhichOneof("frame") == "rejoin":
                        self._carry_out(node_id, frame.rejoin, frames)

    def _carry_out(
        self, node_id: str, command: attach_pb2.RejoinCommand, frames: asyncio.Queue[attach_pb2.AttachRequest]
    ) -> None:
        start = (time.monotonic(), command.rejoin_id, command.attempt)
        self._seen.starts[node_id, command.store_id].append(start)
        result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt, ok=True)
        proof = attach_pb2.NeighborEvent(store_id=command.store_id, peer_id="p", up=True)
        frames.put_nowait(attach_pb2.AttachRequest(rejoin_result=result))
        frames.put_nowait(attach_pb2.AttachRequest(neighbor=proof))

    async def _client(self) -> None:
        while True:
            if not self.asking:
                await asyncio.sleep(0.01)
                continue
            sent_at = time.monotonic()
            node_id = f"n{self._chance.randrange(NODES)}"
            try:
                if self._chance.random() < 0.5:
                    change = gossip_control_pb2.ReportNetworkChangeRequest(
                        request_id=str(uuid.uuid4()), host_id=f"h-{node_id}", kind=KIND
                    )
                    decisions = (await self._stub.ReportNetworkChange(change, timeout=5)).decisions
                else:
                    asked = gossip_control_pb2.RejoinRequest(request_id=str(uuid.uuid4()), node_id=node_id)
                    decisions = (await self._stub.Rejoin(asked, timeout=5)).decisions
            except grpc.aio.AioRpcError:
                self._seen.broken += 1
                await asyncio.sleep(0.01)
                continue
            for decision in decisions:
                self._seen.kinds[decision_pb2.DecisionKind.Name(decision.kind)] += 1
                if decision.kind in _STARTING:
                    slot = (decision.node_id, decision.store_id)
                    self._seen.triggers.append((sent_at, slot, decision.rejoin_id))
            await asyncio.sleep(self._chance.random() * 0.01)


async def _sent(frames: asyncio.Queue[attach_pb2.AttachRequest]) -> AsyncIterator[attach_pb2.AttachRequest]:
    while True:
        yield await frames.get()


def uncovered(seen: Seen, records: dict[str, gossip_control_pb2.ListRejoinsResponse]) -> list[tuple[float, Slot, str]]:
    """Acknowledged triggers that neither a start covers nor an end excuses."""
    excused = {
        rejoin_id
        for rejoin_id, page in records.items()
        if page.rejoins[0].outcome in (decision_pb2.REJOIN_OUTCOME_EXPIRED, decision_pb2.REJOIN_OUTCOME_SKIPPED)
    }
    return [
        (sent_at, slot, rejoin_id)
        for sent_at, slot, rejoin_id in seen.triggers
        if rejoin_id not in excused
        and not any(
            at >= sent_at
            for (node_id, store_id), starts in seen.starts.items()
            if slot[0] in ("", node_id) and slot[1] in ("", store_id)
            for at, _, _ in starts
        )
    ]


@pytest.mark.timeout(60 + KILLS * 6)
async def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    chance, seen = random.Random(seed), Seen()
    process: Process = service(
        None,
        tmp_path,
        deciding_window=str(WINDOW),
        deciding_verify_timeout=str(WINDOW),
        log_level="warning",
    )
    async with process, Load(f"unix:{tmp_path}/gossipcontrol.sock", seen, chance) as load:
        for kill in range(1, KILLS + 1):
            acknowledged = len(seen.triggers)
            async with asyncio.timeout(30):
                while len(seen.triggers) <= acknowledged:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() * 1.5)
            await process.stop(signal.SIGKILL)
            await process.start()
            starts = sum(len(one) for one in seen.starts.values())
            print(f"kill {kill} of {KILLS}: {len(seen.triggers)} triggers, {starts} starts so far", flush=True)
        load.asking = False
        async with asyncio.timeout(30):
            while uncovered(seen, records := await load.records()):
                await asyncio.sleep(0.1)
        running = [page for page in records.values() if page.rejoins[0].outcome < decision_pb2.REJOIN_OUTCOME_VERIFIED]
        assert len(running) <= NODES * len(STORES), seed
    close = [
        (slot, first, second)
        for slot, starts in seen.starts.items()
        for first, second in itertools.pairwise(starts)
        if second[0] - first[0] < WINDOW - SLACK
    ]
    total = sum(len(starts) for starts in seen.starts.values())
    told = f"{len(seen.triggers)} triggers, {total} starts, {seen.broken} cut off, {dict(seen.kinds)}"
    print(f"seed {seed}: {KILLS} kills, {told}")
    assert close == [], seed
