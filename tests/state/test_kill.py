"""Kill -9 of the real service under real load: nothing acknowledged is lost, nothing starts twice, no answer changes.

A hostile client works beside the honest ones. ``GOSSIPCONTROL_KILLS=200`` runs the long form.
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
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc

from tests.kit.hostile_client import HostileClient, is_stranger
from tests.kit.ports import free_ports
from tests.kit.process import Process, service
from tests.kit.until import DEADLINE, until

KILLS = int(os.environ.get("GOSSIPCONTROL_KILLS", "8"))
WINDOW = 4.0
"""Longer than a restart takes, so that a service which forgot its starts would start again too early."""
NODES = 6
STORES = ("a", "b")
CLIENTS = 4
SLACK = 1.5
"""Seconds by which commands may arrive nearer than they started: a noisy machine delivers the first late."""

KIND = gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED
MOST_BETWEEN_KILLS = 2000
"""Acknowledgements; their number before a kill is log-uniform, so that many kills hit a service that has just begun."""
AGAIN = 0.15
"""Share of requests that were answered before, maybe by a service that was killed since."""
REMEMBERED = 2000
"""Answered requests that may be sent again."""

Slot = tuple[str, str]
Request = gossip_control_pb2.RejoinRequest | gossip_control_pb2.ReportNetworkChangeRequest
Response = gossip_control_pb2.RejoinResponse | gossip_control_pb2.ReportNetworkChangeResponse
Decided = tuple[tuple[str, str, int, str], ...]
"""Node, store, kind and rejoin of each decision."""
_DUPLICATE = decision_pb2.DECISION_KIND_DUPLICATE
_STARTING = (
    decision_pb2.DECISION_KIND_STARTED,
    decision_pb2.DECISION_KIND_COALESCED,
    decision_pb2.DECISION_KIND_SCHEDULED,
    decision_pb2.DECISION_KIND_PARKED,
    _DUPLICATE,
)
_EXCUSED = (decision_pb2.REJOIN_OUTCOME_EXPIRED, decision_pb2.REJOIN_OUTCOME_SKIPPED)
_ENDED = frozenset(range(decision_pb2.REJOIN_OUTCOME_VERIFIED, decision_pb2.REJOIN_OUTCOME_SPLIT + 1))
_FOLLOWED = (decision_pb2.REJOIN_OUTCOME_FAILED, decision_pb2.REJOIN_OUTCOME_SPLIT)
"""Another rejoin runs in its place: its stream broke while one waited already, or its node came to be known."""


@dataclass
class Seen:
    """What clients and agents saw, in this process's time."""

    triggers: list[tuple[float, Slot, str]] = field(default_factory=list[tuple[float, Slot, str]])
    """When it was sent, its slot, the rejoin that its acknowledgement named."""
    starts: dict[Slot, list[tuple[float, str, int]]] = field(default_factory=lambda: defaultdict(list))
    kinds: Counter[str] = field(default_factory=Counter[str])
    broken: int = 0
    """Calls that a kill cut off; each was sent again, with the same request id or generation."""
    replayed: int = 0
    """Of those and of the requests sent again, how many had been decided before."""
    changed: list[str] = field(default_factory=list[str])
    """Requests that were decided twice, and differently."""
    _awaited: int = 0
    _reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def more_triggers(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        self._awaited = len(self.triggers) + count
        self._reached.clear()
        async with asyncio.timeout(2 * DEADLINE):
            await self._reached.wait()

    def acknowledge(self, sent_at: float, response: Response) -> None:
        """Take an answer to a request that nobody had answered before."""
        for decision in response.decisions:
            self.kinds[decision_pb2.DecisionKind.Name(decision.kind)] += 1
            if decision.kind in _STARTING:
                self.triggers.append((sent_at, (decision.node_id, decision.store_id), decision.rejoin_id))
        if len(self.triggers) >= self._awaited:
            self._reached.set()


class Load:
    """Agents that prove every rejoin, and clients that ask for some, over one real channel."""

    def __init__(self, address: str, seen: Seen, chance: random.Random) -> None:
        self._channel = open_channel(address)
        self._stub = gossip_control_pb2_grpc.GossipControlStub(self._channel)
        self._seen = seen
        self._chance = chance
        self._agents: list[asyncio.Task[None]] = []
        self._clients: list[asyncio.Task[None]] = []
        self._generations = itertools.count(1)
        self._answered: list[tuple[Request, Decided]] = []
        self._asking = True

    async def __aenter__(self) -> Load:
        self._agents = [asyncio.create_task(self._agent(f"n{number}")) for number in range(NODES)]
        self._clients = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._agents, *self._clients):
            task.cancel()
        await asyncio.gather(*self._agents, *self._clients, return_exceptions=True)
        await self._channel.close()

    async def stop_asking(self) -> None:
        """Return once every request has got its answer."""
        self._asking = False
        async with asyncio.timeout(2 * DEADLINE):
            await asyncio.gather(*self._clients)

    async def records(self) -> dict[str, decision_pb2.Rejoin]:
        """Every rejoin that the service knows, by id."""
        found: dict[str, decision_pb2.Rejoin] = {}
        token = ""
        while True:
            request = gossip_control_pb2.ListRejoinsRequest(page_size=1000, page_token=token)
            page = await self._stub.ListRejoins(request, wait_for_ready=True, timeout=DEADLINE)
            found.update((rejoin.rejoin_id, rejoin) for rejoin in page.rejoins)
            if not (token := page.next_page_token):
                return found

    async def has_ended(self) -> bool:
        """Whether no rejoin of an honest node is waiting or running."""
        return all(one.outcome in _ENDED for one in (await self.records()).values() if not is_stranger(one))

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
        while self._asking:
            if self._answered and self._chance.random() < AGAIN:
                await self._ask_again(*self._chance.choice(self._answered))
                continue
            request = self._request()
            first_sent_at, last_sent_at, response = await self._ask(request)
            decided = _decided(response)
            # Decided before a kill, and answered after it: then it was taken when it was first sent, or later.
            was_known = response.replayed or any(kind == _DUPLICATE for _, _, kind, _ in decided)
            self._seen.replayed += was_known
            self._seen.acknowledge(first_sent_at if was_known else last_sent_at, response)
            self._answered.append((request, decided))
            if len(self._answered) > REMEMBERED:
                self._answered.pop(self._chance.randrange(REMEMBERED))

    def _request(self) -> Request:
        """A new request: with an id, with a generation, or with both."""
        node_id, chosen = f"n{self._chance.randrange(NODES)}", self._chance.randrange(4)
        request_id = str(uuid.uuid4()) if chosen else ""
        if chosen == 1:
            return gossip_control_pb2.RejoinRequest(request_id=request_id, node_id=node_id, park_unknown=True)
        change = gossip_control_pb2.ReportNetworkChangeRequest(
            request_id=request_id, host_id=f"h-{node_id}", kind=KIND, boot_id="boot"
        )
        if chosen != 2:
            change.generation = next(self._generations)
        return change

    async def _ask(self, request: Request) -> tuple[float, float, Response]:
        """Send it until it is answered; when it was sent first and last, and the answer."""
        first_sent_at = time.monotonic()
        while True:
            last_sent_at = time.monotonic()
            try:
                if isinstance(request, gossip_control_pb2.RejoinRequest):
                    response: Response = await self._stub.Rejoin(request, wait_for_ready=True, timeout=DEADLINE)
                else:
                    response = await self._stub.ReportNetworkChange(request, wait_for_ready=True, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                self._seen.broken += 1
            else:
                return first_sent_at, last_sent_at, response

    async def _ask_again(self, request: Request, decided: Decided) -> None:
        """The same id gets the same answer, and the same generation names the same rejoins, whatever was killed."""
        _, _, response = await self._ask(request)
        self._seen.replayed += 1
        expected = decided
        if not request.request_id:
            expected = tuple((node, store, _DUPLICATE, rejoin_id) for node, store, _, rejoin_id in decided)
        if _decided(response) != expected:
            self._seen.changed.append(f"{request}: {expected}, then {_decided(response)}")


def _decided(response: Response) -> Decided:
    return tuple((one.node_id, one.store_id, one.kind, one.rejoin_id) for one in response.decisions)


async def _sent(frames: asyncio.Queue[attach_pb2.AttachRequest]) -> AsyncIterator[attach_pb2.AttachRequest]:
    while True:
        yield await frames.get()


def uncovered(seen: Seen, records: dict[str, decision_pb2.Rejoin]) -> list[tuple[float, Slot, str]]:
    """Acknowledged triggers whose rejoin neither started after them, nor ended with an excuse, nor was followed."""
    newest: dict[str, float] = {}
    for (node_id, store_id), starts in seen.starts.items():
        for at, rejoin_id, _ in starts:
            for covered in (rejoin_id, f"{node_id}/{store_id}", f"{node_id}/", "/"):
                newest[covered] = max(at, newest.get(covered, at))
    found: list[tuple[float, Slot, str]] = []
    for sent_at, (node_id, store_id), rejoin_id in seen.triggers:
        if rejoin_id not in records:
            found.append((sent_at, (node_id, store_id), rejoin_id))
            continue
        outcome = records[rejoin_id].outcome
        by_others = newest.get(f"{node_id}/{store_id}" if node_id else "/", 0.0) if outcome in _FOLLOWED else 0.0
        if outcome not in _EXCUSED and max(newest.get(rejoin_id, 0.0), by_others) < sent_at:
            found.append((sent_at, (node_id, store_id), rejoin_id))
    return found


def too_close(seen: Seen) -> list[tuple[Slot, tuple[float, str, int], tuple[float, str, int]]]:
    """Starts of one slot within its window."""
    return [
        (slot, first, second)
        for slot, starts in seen.starts.items()
        for first, second in itertools.pairwise(starts)
        if second[0] - first[0] < WINDOW - SLACK
    ]


def repeated(seen: Seen) -> list[tuple[str, int]]:
    """Attempts that were commanded more than once."""
    attempts = Counter((rejoin_id, attempt) for starts in seen.starts.values() for _, rejoin_id, attempt in starts)
    return [attempt for attempt, count in attempts.items() if count > 1]


async def kill_at_random(process: Process, seen: Seen, chance: random.Random) -> None:
    """Kill the service after a random number of acknowledgements, again and again, and start it anew."""
    for kill in range(1, KILLS + 1):
        await seen.more_triggers(round(MOST_BETWEEN_KILLS ** chance.random()))
        await process.stop(signal.SIGKILL)
        await process.start()
        starts = sum(len(one) for one in seen.starts.values())
        print(f"kill {kill} of {KILLS}: {len(seen.triggers)} triggers, {starts} starts so far", flush=True)


@pytest.mark.waits(20)
@pytest.mark.timeout(480 + KILLS * 30)
async def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    chance, seen, (port,) = random.Random(seed), Seen(), free_ports(1)
    process: Process = service(
        None,
        tmp_path,
        deciding_window=str(WINDOW),
        deciding_verify_timeout=str(WINDOW),
        listen_tcp=f"127.0.0.1:{port}",
        log_level="warning",
    )
    async with (
        process,
        HostileClient(f"127.0.0.1:{port}") as hostile,
        Load(f"unix:{tmp_path}/gossipcontrol.sock", seen, chance) as load,
    ):
        await kill_at_random(process, seen, chance)
        await load.stop_asking()
        # What a kill cut off may have failed already while the rejoin that follows it still waits.
        await until(load.has_ended, "every rejoin has ended", within=2 * DEADLINE)
        records = await load.records()
    assert uncovered(seen, records) == [], seed
    counted = f"{len(seen.triggers)} acknowledged, 0 uncovered, {len(too_close(seen)) + len(repeated(seen))} twice"
    again = f"{seen.broken} calls cut off, {seen.replayed} answered as before, {len(seen.changed)} otherwise"
    starts = sum(len(starts) for starts in seen.starts.values())
    print(f"seed {seed}: {KILLS} kills, {counted}, {starts} starts, {again}, {dict(seen.kinds)}")
    print(f"hostile steps: {dict(hostile.outcomes)}")
    assert hostile.outcomes["OK"] >= KILLS, "it was at work between the kills"
    assert too_close(seen) == [], seed
    assert repeated(seen) == [], seed
    assert seen.changed == [], seed
