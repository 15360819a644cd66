"""Agents of many nodes in one process, as light as they can be: what they do about their streams is what agents do.

Where each asks for the owner, and how long it waits, is decided by ``gossipcontrol.client.servers``; the rest is frames
of HTTP/2, written by hand. Each prints when its node is attached, and when the owner's answers hold presence again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from gossipcontrol.agent.agent import CONNECT_TIMEOUT, LONGEST_CONNECT, SPREAD, STEADY
from gossipcontrol.agent.owner import Owner
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.retry import LONGEST_WAIT
from gossipcontrol.client.servers import Search, Servers
from gossipcontrol.v1 import attach_pb2, liveness_pb2

from tests.kit.http2_client import Http2Client, header_block

METHOD = "/gossipcontrol.v1.GossipControl/Attach"
MEMBERS = 20
"""Nodes of each store; all of them hear one another."""
NEIGHBORS = 4
TOLD = 0.2
"""Seconds between two lines."""
FIRST_RATE = 100.0
"""Agents per second that come for the first time, which is not what is measured."""
AWAY = (liveness_pb2.PEER_STATE_OFFLINE, liveness_pb2.PEER_STATE_ASLEEP, liveness_pb2.PEER_STATE_LEFT)


class Refused(grpc.RpcError):
    """A call that ended with a status that is not OK."""

    def __init__(self, trailers: dict[str, bytes]) -> None:
        super().__init__()
        self._trailers = trailers

    def code(self) -> grpc.StatusCode:
        """By its number."""
        number = int(self._trailers.get("grpc-status", b"2"))
        return next((one for one in grpc.StatusCode if one.value[0] == number), grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        """What the server says."""
        return self._trailers.get("grpc-message", b"").decode(errors="replace")

    def trailing_metadata(self) -> Any:
        """As grpc.aio has it: binary values are bytes, and came behind a zero that says that they are bare."""
        return tuple(
            (key, value.removeprefix(b"\0") if key.endswith("-bin") else value.decode(errors="replace"))
            for key, value in self._trailers.items()
        )


class Unreachable(Refused):
    """Nobody listens there, or the connection broke."""

    def __init__(self) -> None:
        super().__init__({"grpc-status": b"14"})


@dataclass
class Seen:
    """What all agents of this process saw since the last line."""

    attached: list[tuple[int, float, str]] = field(default_factory=list[tuple[int, float, str]])
    """Node, when (monotonic), and where."""
    settled: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    """Node, and when every store's view had come from the owner that it is attached to."""
    total: Counter[str] = field(default_factory=Counter[str])
    """Since the start."""

    def tell(self) -> None:
        """Print it."""
        line = {"event": "agents", "ts": time.time(), "total": self.total}
        print(json.dumps({**line, "attached": self.attached, "settled": self.settled}), flush=True)
        self.attached, self.settled = [], []


def groups(nodes: int, stores: int) -> list[dict[str, list[str]]]:
    """Of each node its stores, each with its other members: every store has the same number of members."""
    shared: list[dict[str, list[str]]] = [{} for _ in range(nodes)]
    for layer in range(stores):
        order = list(range(nodes))
        random.Random(layer).shuffle(order)
        for first in range(0, nodes, MEMBERS):
            members = order[first : first + MEMBERS]
            for place, node in enumerate(members):
                others = [f"a{one}" for one in (*members[place + 1 :], *members[:place])]
                shared[node][f"s{layer}-{first // MEMBERS}"] = others
    return shared


def observed(store_id: str, others: Sequence[str], known_version: int) -> liveness_pb2.LivenessReport:
    """What a node reports of a store in which it hears all others, and holds the view of this version."""
    near = (*others[-NEIGHBORS // 2 :], *others[: NEIGHBORS // 2])
    direct = [place for place, one in enumerate(others) if one in near]
    ages = [random.randrange(1000) for _ in others]
    heard = liveness_pb2.PeersHeard(peer_ids=others, heard_ages_ms=ages, direct=direct)
    neighbors = [liveness_pb2.Neighbor(peer_id=one, up_age_ms=60_000) for one in near]
    return liveness_pb2.LivenessReport(store_id=store_id, heard=heard, neighbors=neighbors, known_version=known_version)


def carried_out(command: attach_pb2.RejoinCommand) -> attach_pb2.AttachRequest:
    """The answer of a node that did what it was told."""
    result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt, ok=True)
    return attach_pb2.AttachRequest(rejoin_result=result)


class LightAgent:
    """One node's agent."""

    def __init__(self, number: int, addresses: str, stores: dict[str, list[str]], seen: Seen) -> None:
        self._number = number
        self._seen = seen
        self._stores = stores
        self._search = Search(Servers(addresses), longest=LONGEST_WAIT, spread=SPREAD)
        self._owner = Owner()
        self._register = attach_pb2.AttachRequest(
            register=attach_pb2.Register(node_id=f"a{number}", host_id=f"ha{number}", store_ids=list(stores))
        ).SerializeToString()
        self._address = ""
        self._connection: Http2Client | None = None
        self._stream = 0
        self._attached_at: float | None = None
        self._ended: asyncio.Future[grpc.RpcError] = asyncio.get_running_loop().create_future()
        self._interval = 2.0
        self._deadline: asyncio.Timeout | None = None
        """Within which a new stream must be answered."""
        self._due: asyncio.TimerHandle | None = None
        self._versions: dict[str, int] = {}
        self._unanswered: set[str] = set()
        self._unsettled: set[str] = set()
        self._commands = 0
        self._command_at = 0.0

    async def run(self) -> None:
        """As ``gossipcontrol.agent.Agent.run``."""
        while True:
            self._address = self._search.server().address
            failure = await self._attach_once()
            at, self._attached_at = self._attached_at, None
            is_steady = at is not None and time.monotonic() - at >= STEADY
            await asyncio.sleep(self._search.lose() if is_steady else self._search.wait(failure))

    async def _attach_once(self) -> grpc.RpcError | None:
        self._seen.total["attempts"] += 1
        self._ended = asyncio.get_running_loop().create_future()
        host, _, port = self._address.rpartition(":")
        try:
            async with asyncio.timeout(self._search.answer_time(CONNECT_TIMEOUT, LONGEST_CONNECT)) as deadline:
                _, connection = await asyncio.get_running_loop().create_connection(self._connected, host, int(port))
                self._connection = connection
                self._stream = connection.call(header_block(METHOD), self._register, last=False)
                self._deadline = deadline
                return await self._ended
        except TimeoutError:
            self._seen.total["timeouts"] += 1
            if self._connection is not None:
                self._search.note_ignored()
            return None
        except OSError:
            self._seen.total["nobody there"] += 1
            return Unreachable()
        finally:
            if self._due is not None:
                self._due.cancel()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> Http2Client:
        return Http2Client(self._on_message, self._on_end, self._on_headers, self._on_lost)

    def _on_headers(self, _stream: int, headers: dict[str, bytes]) -> None:
        if "grpc-status" in headers:
            self._end(Refused(headers))

    def _on_end(self, _stream: int) -> None:
        self._end(Unreachable())

    def _on_lost(self) -> None:
        self._end(Unreachable())

    def _end(self, failure: Refused) -> None:
        if not self._ended.done():
            self._seen.total[type(failure).__name__.lower()] += 1
            self._ended.set_result(failure)

    def _on_message(self, _stream: int, message: bytes) -> None:
        frame = attach_pb2.AttachResponse.FromString(message)
        if self._attached_at is None:
            self._begin(frame)
            return
        if not self._owner.admits(frame.owner_epoch):
            self._seen.total["older epochs"] += 1
            return
        match frame.WhichOneof("frame"):
            case "ack":
                self._interval = max(1.0, frame.ack.next_report_ms / 1000)
                self._look(frame.ack.view)
            case "rejoin":
                self._seen.total["commands"] += 1
                self._commands, self._command_at = self._commands + 1, boottime()
                self._send(carried_out(frame.rejoin))
            case _:
                pass

    def _begin(self, frame: attach_pb2.AttachResponse) -> None:
        try:
            self._owner.begin(frame.registered.cell, frame.owner_epoch)
        except ConnectionError:
            self._seen.total["older epochs"] += 1
            self._end(Unreachable())
            return
        if self._deadline is not None:
            self._deadline.reschedule(None)
        self._attached_at = time.monotonic()
        self._search.note_answered()
        self._seen.attached.append((self._number, self._attached_at, self._address))
        self._unsettled, self._unanswered = set(self._stores), set()
        self._commands, self._command_at = 0, boottime()
        self._interval = max(1.0, frame.registered.next_report_ms / 1000)
        self._report()

    def _report(self) -> None:
        for store_id, others in self._stores.items():
            if store_id in self._unanswered:
                continue
            self._unanswered.add(store_id)
            report = observed(store_id, others, self._versions.get(store_id, 0))
            self._send(attach_pb2.AttachRequest(liveness=report))
        self._due = asyncio.get_running_loop().call_later(self._interval, self._report)

    def _look(self, view: liveness_pb2.StoreView) -> None:
        self._unanswered.discard(view.store_id)
        self._seen.total["answers"] += 1
        if view.settling:
            self._seen.total["settling"] += 1
            return
        self._versions[view.store_id] = view.version
        self._seen.total["said to be away"] += sum(peer.state in AWAY for peer in view.peers)
        if view.store_id in self._unsettled:
            self._unsettled.discard(view.store_id)
            if not self._unsettled:
                self._seen.settled.append((self._number, time.monotonic()))

    def _send(self, frame: attach_pb2.AttachRequest) -> None:
        frame.commands_received = self._commands
        frame.command_age_ms = int(1000 * (boottime() - self._command_at))
        if self._connection is not None:
            self._connection.send(self._stream, frame.SerializeToString())


async def attach(addresses: str, mine: Iterable[int], shared: Sequence[dict[str, list[str]]]) -> None:
    """Keep these nodes attached until this process is stopped."""
    seen = Seen()

    async def come(number: int, after: float) -> None:
        await asyncio.sleep(after)
        await LightAgent(number, addresses, shared[number], seen).run()

    async def tell() -> None:
        while True:
            await asyncio.sleep(TOLD)
            seen.tell()

    async with asyncio.TaskGroup() as group:
        for number in mine:
            group.create_task(come(number, random.uniform(0.0, len(shared) / FIRST_RATE)))
        group.create_task(tell())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", required=True)
    parser.add_argument("--agents", type=int, required=True, help="of all processes")
    parser.add_argument("--stores", type=int, required=True, help="of each")
    parser.add_argument("--part", type=int, default=0, help="which process this is")
    parser.add_argument("--parts", type=int, default=1)
    chosen = parser.parse_args()
    mine = range(chosen.part, chosen.agents, chosen.parts)
    asyncio.run(attach(chosen.addresses, mine, groups(chosen.agents, chosen.stores)))


if __name__ == "__main__":
    main()
