"""Three replicas on three members of etcd under triggers: the owner is killed or stopped, also with etcd's leader.

The clock runs from the signal to the first trigger that another replica acknowledges. Everything is on this machine:
three members of etcd, three replicas, the agents and the clients. With --known, the state has that many nodes more, in
ten stores each, and the time is shown in which it could be read when nobody had followed the log.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.event import NodeAttached
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.state.etcd_client import EtcdAccess, EtcdClient
from gossipcontrol.server.state.etcd_ledger import EtcdLedger
from gossipcontrol.server.state.journal import JournalListener
from gossipcontrol.server.state.ledger_journal import LedgerJournal
from gossipcontrol.server.state.ledger_reading import read_ledger
from gossipcontrol.server.state.recovery import recover, recover_book, take_book, take_snapshot

from bench.report import Figure, arguments, at_most, run, show
from tests.kit.etcd import ETCD, Etcd, running_etcd
from tests.kit.replicas import Cluster, Fleet, cluster
from tests.kit.until import until

KINDS = ("owner killed", "owner and etcd's leader killed", "owner stopped")
NODES, CLIENTS = 20, 6
PAUSE = 0.02
"""Seconds between two triggers of a client: about 300 per second in all, where the machine is fast enough."""
BEFORE = 100
"""Triggers acknowledged before each signal."""
TARGET = 3.0
"""Seconds."""


STORES = 10
"""Of each node that is known besides."""


class Nobody:
    """Owns the ledger before any replica does."""

    epoch = 0

    async def sure(self) -> None:
        """At once."""


@asynccontextmanager
async def opened(etcd: Etcd) -> AsyncGenerator[EtcdLedger]:
    """The ledger of the replicas."""
    ledger = EtcdLedger(EtcdClient(EtcdAccess(endpoints=etcd.endpoints)), "default")
    try:
        yield ledger
    finally:
        await ledger.close()


async def fill(etcd: Etcd, known: int) -> None:
    """Leave a state of so many nodes."""
    core = Core()
    stores = tuple(f"store-{number}" for number in range(STORES))
    for number in range(known):
        core.handle(NodeAttached(f"known-{number}", "-", stores, host_id=f"host-{number}"), 1.0)
    async with opened(etcd) as ledger:
        journal = LedgerJournal(ledger, Nobody())
        await journal.claim()
        failures: list[str] = []
        kept = asyncio.Event()
        journal.start(JournalListener(lambda _: kept.set(), failures.append, lambda _: None, None, failures.append))
        journal.snapshot(take_snapshot(core), 1.0, take_book(core.knowledge, (), 1.0))
        await kept.wait()
        await journal.abandon()
        assert not failures, failures


async def read_cold(etcd: Etcd) -> float:
    """Seconds in which a replica that has not followed the log would read the state."""
    async with opened(etcd) as ledger:
        began_at = time.perf_counter()
        loaded = (await read_ledger(ledger, await ledger.last())).loaded
        book, _ = recover_book(loaded.knowledge, KnowledgeParameters())
        recover(loaded, CoreParameters(), book)
        return time.perf_counter() - began_at


class Rounds:
    """What is measured."""

    def __init__(self, etcd: Etcd, replicas: Cluster, fleet: Fleet) -> None:
        self.etcd = etcd
        self.replicas = replicas
        self.fleet = fleet
        self.took: dict[str, list[float]] = defaultdict(list)
        self.late = 0
        """Commands of an owner after another replica had acknowledged something."""

    async def one(self, kind: str) -> None:
        """Do it once, and repair everything."""
        await self.fleet.until_more(BEFORE)
        old = self.replicas.owner()
        process, others = self.replicas.replicas[old], [one for one in self.replicas.replicas if one != old]
        leader = self.etcd.leader() if "leader" in kind else None
        began_at = time.monotonic()
        if "stopped" in kind:
            process.freeze()
        else:
            await process.stop(signal.SIGKILL)
        if leader is not None:
            await self.etcd.kill(leader)
        asked = self.fleet.asked
        await until(lambda: asked.first_after(began_at, old) is not None, "another replica acknowledges", 120)
        first = asked.first_after(began_at, old)
        assert first is not None
        self.took[kind].append(first - began_at)
        print(f"{kind}: {first - began_at:.2f} s", file=sys.stderr, flush=True)
        if "stopped" in kind:
            process.thaw()
            await process.ended()
        if leader is not None:
            await self.etcd.start(leader)
            await self.etcd.until_ready()
        self.late += sum(1 for at, address, _, _ in self.fleet.commands if address == old and at > first)
        came_at = time.time()
        await process.start()
        await process.wait_for("standing by", 60, after=came_at)
        await process.wait_for("standby follows", 60, after=came_at)
        await self.replicas.until_owner(old)
        assert self.replicas.owner() in others


async def measure(directory: Path, rounds: int, known: int) -> dict[str, Figure]:
    """Take over so many times of each kind."""
    nodes = [f"n{number}" for number in range(NODES)]
    settings = {"deciding_window": "1", "deciding_verify_timeout": "1", "deciding_request_memory": "86400"}
    async with AsyncExitStack() as stack:
        flags = ("--heartbeat-interval", "50", "--election-timeout", "500")
        etcd = await stack.enter_async_context(running_etcd(directory, 3, *flags))
        if known:
            await fill(etcd, known)
        replicas = await stack.enter_async_context(cluster(directory, etcd.endpoints, 3, **settings))
        fleet = await stack.enter_async_context(Fleet(list(replicas.replicas), nodes, CLIENTS, PAUSE))
        measured = Rounds(etcd, replicas, fleet)
        for _ in range(rounds):
            for kind in KINDS:
                await measured.one(kind)
        await fleet.until_more(BEFORE)
        lost = await fleet.lost()
        shown: dict[str, Figure] = {}
        for kind in KINDS:
            shown[f"{kind}, median"] = Figure(median(measured.took[kind]), "s")
            shown[f"{kind}, longest of {rounds}"] = at_most(max(measured.took[kind]), "s", TARGET)
        if known:
            shown[f"state of {known} nodes in {STORES} stores, read cold"] = Figure(await read_cold(etcd), "s")
        twice = fleet.repeated()
        again = len(fleet.commands) - twice - len({one[2:] for one in fleet.commands})
        return {
            **shown,
            "triggers acknowledged": Figure(len(fleet.asked.answers), "triggers"),
            "of these lost": at_most(len(lost), "triggers", 0),
            "commands carried out": Figure(len(fleet.commands), "commands"),
            "of a replaced owner": at_most(measured.late, "commands", 0),
            "sent again by a new owner": Figure(again, "commands"),
            "attempts commanded twice by one owner": at_most(twice, "commands", 0),
        }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="takeovers of each kind (20)")
    parser.add_argument("--known", type=int, default=0, help=f"nodes known besides, in {STORES} stores each (0)")
    flags = parser.parse_args()
    if ETCD is None:
        sys.exit("needs etcd: apt-get install etcd-server")
    directory = Path(tempfile.mkdtemp())
    try:
        shown = run(measure(directory, 2 if flags.quick else flags.rounds, flags.known))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show("takeover", shown, flags.as_json)


if __name__ == "__main__":
    main()
