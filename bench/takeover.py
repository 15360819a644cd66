"""Three replicas on three members of etcd under triggers: the owner is killed, stopped or cut off, also with a member.

The clock runs from the signal to the first trigger that another replica acknowledges. Everything is on this machine:
three members of etcd, three replicas, each on a host of its own in a network namespace, the agents and the clients.
Without root there are no hosts, and nobody is cut off. A cut lasts until all agents are attached to another replica; of
the clients two know only the owner that is cut off, and ask it all the while. In each round the owner's wall clock is
set by an hour first: nobody takes over for that, and from then on the replicas' clocks differ. With --known, the state
has that many nodes more, in ten stores each, and the time is shown in which it could be read when nobody had followed
the log. With --kills, the owner is killed so many times instead, each time as soon as a standby follows the log.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile
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
from tests.kit.network import Host, Network, leave_for_own_namespace, what_is_missing
from tests.kit.process import Process
from tests.kit.replicas import Cluster, Fleet, cluster
from tests.kit.until import until
from tests.kit.wall_clock import WallClocks

KINDS = ("owner killed", "owner and etcd's leader killed", "owner stopped")
CLOCK = "owner's wall clock set by an hour"
HOST_CUT = "owner's host cut off from everything"
OWNER_CUT = "owner cut off from etcd and replicas, not from clients"
FOLLOWER_CUT = "owner cut off with a follower of etcd, not from clients"
LEADER_CUT = "owner cut off with etcd's leader, not from clients"
CUTS = (HOST_CUT, OWNER_CUT, FOLLOWER_CUT, LEADER_CUT)
MEMBERS = REPLICAS = 3
NODES, CLIENTS = 20, 6
PAUSE = 0.02
"""Seconds between two triggers of a client: about 300 per second in all, where the machine is fast enough."""
BEFORE = 100
"""Triggers acknowledged before each signal."""
HOUR = 3600.0
BETWEEN = 10
"""The same where the owner is killed as fast as that goes."""
CHECK_INTERVAL = 20
"""Kills between two looks at what was acknowledged."""
ATTACH_TIME = 90.0
"""Seconds that agents have to leave an owner that is cut off."""
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

    def __init__(self, etcd: Etcd, replicas: Cluster, fleet: Fleet, hosts: Sequence[Host], clocks: WallClocks) -> None:
        self.etcd = etcd
        self.clocks = clocks
        self.replicas = replicas
        self.fleet = fleet
        self.hosts = dict(zip(replicas.replicas, hosts[MEMBERS:], strict=False))
        """Of replicas."""
        self.members = hosts[:MEMBERS]
        self.ahead: dict[str, float] = {}
        """Seconds by which the wall clocks of replicas are ahead of the right time."""
        self.waited: list[float] = []
        """The longest wait of a trigger after each time."""
        self.took: dict[str, list[float]] = defaultdict(list)
        self.last: list[float] = []
        """Seconds from each cut to the last acknowledgement of the owner that was cut off."""
        self.attached: dict[str, list[float]] = defaultdict(list)
        """Seconds from each cut until all agents were attached to another replica."""
        self.late = 0
        """Commands of an owner after another replica had acknowledged something."""
        self.late_answers = 0
        """Acknowledgements of an owner that was cut off, after that."""
        self.lost = self.checked = 0
        """Acknowledged triggers that nobody knew later, of so many."""

    async def one(self, kind: str) -> None:
        """Do it once, and repair everything."""
        await self.fleet.until_more(BEFORE)
        old = self.replicas.owner()
        if kind == CLOCK:
            await self._set_clock(old)
            return
        process, others = self.replicas.replicas[old], [one for one in self.replicas.replicas if one != old]
        async with self.fleet.loyal(old) if kind in CUTS else nullcontext():
            began_at, first = await self._trouble(kind, old, process)
            self.took[kind].append(first - began_at)
            print(f"{kind}: {first - began_at:.2f} s", file=sys.stderr, flush=True)
            if kind in CUTS:
                await self._until_attached(kind, others, began_at)
            await self._repair(kind, old, process)
        self.count_late(old, first)
        if kind in CUTS:
            acknowledged = self.fleet.asked.since(began_at, old)
            self.last += [at - began_at for at in acknowledged[:1]]
            self.late_answers += sum(1 for at in acknowledged if at > first)
        process.forget(math.inf)
        await process.start()
        await process.wait_for("standing by", 60)
        await process.wait_for("standby follows", 60)
        await self.replicas.until_owner(old)
        assert self.replicas.owner() in others

    async def _set_clock(self, owner: str) -> None:
        """Set the owner's wall clock an hour ahead or, the next time, back."""
        process, asked = self.replicas.replicas[owner], self.fleet.asked
        seen = len(process.all("wall clock set", after=-math.inf))
        began_at = time.monotonic()
        self.ahead[owner] = -HOUR if self.ahead.get(owner, 0.0) > 0 else HOUR
        self.clocks.set(owner, self.ahead[owner])
        await process.wait_for("wall clock set", 60, after=-math.inf, count=seen + 1)
        await self.fleet.until_more(BEFORE)
        assert self.replicas.owner() == owner, "nobody takes over for a wall clock"
        self.waited.append(max(wait for at, wait in asked.waits if at > began_at))

    async def _trouble(self, kind: str, old: str, process: Process) -> tuple[float, float]:
        """Make it; returns when, and when another replica acknowledged something."""
        leader = self.etcd.leader() if "leader" in kind or kind == FOLLOWER_CUT else 0
        began_at = time.monotonic()
        if kind in CUTS:
            await self._cut(kind, self.hosts[old], leader)
        elif "stopped" in kind:
            process.freeze()
        else:
            await process.stop(signal.SIGKILL)
            if "leader" in kind:
                await self.etcd.kill(leader)
        return began_at, await self.until_first(began_at, old)

    async def until_first(self, began_at: float, old: str) -> float:
        """When another replica than this one acknowledged something."""
        asked = self.fleet.asked
        await until(lambda: asked.first_after(began_at, old) is not None, "another replica acknowledges", 120)
        first = asked.first_after(began_at, old)
        assert first is not None
        return first

    async def _cut(self, kind: str, host: Host, leader: int) -> None:
        if kind == HOST_CUT:
            await host.unplug()
            return
        near = [host]
        if kind != OWNER_CUT:
            near.append(self.members[leader if kind == LEADER_CUT else (leader + 1) % MEMBERS])
        far = [one.address for one in (*self.members, *self.hosts.values()) if one not in near]
        await asyncio.gather(*(one.cut_from(*far) for one in near))

    async def _until_attached(self, kind: str, others: Sequence[str], began_at: float) -> None:
        """Wait until no agent is attached to the owner that is cut off."""

        def are_attached() -> bool:
            return len(self.fleet.attached) == NODES and all(one in others for one in self.fleet.attached.values())

        await until(are_attached, f"{kind}: all agents are attached to another replica", ATTACH_TIME)
        self.attached[kind].append(time.monotonic() - began_at)

    async def _repair(self, kind: str, old: str, process: Process) -> None:
        """End the trouble, and see how a replaced owner that lives ends."""
        if kind == HOST_CUT:
            await self.hosts[old].plug()
        elif kind in CUTS:
            await asyncio.gather(*(one.mend() for one in (self.hosts[old], *self.members)))
        elif "stopped" in kind:
            process.thaw()
        if kind in CUTS or "stopped" in kind:
            await process.ended()
            await process.wait_for("ownership lost", 10)
        for number, member in enumerate(self.etcd.processes):
            if member.returncode is not None:
                await self.etcd.start(number)
        await self.etcd.until_ready()

    def count_late(self, old: str, first: float) -> None:
        """Count what an owner commanded after another replica had acknowledged something."""
        commands = takewhile(lambda one: one.at > first, reversed(self.fleet.commands))
        self.late += sum(1 for one in commands if one.address == old)

    async def check(self) -> None:
        """See whether the owner knows all that was acknowledged since the last look."""
        count = len(self.fleet.asked.answers)
        self.lost += len(await self.fleet.lost(self.checked))
        self.checked = count

    async def kill(self, kills: int) -> None:
        """Kill the owner so many times, each time once a standby follows the log; start it again at once."""
        for number in range(1, kills + 1):
            await self.fleet.until_more(BETWEEN)
            old = self.replicas.owner()
            await until(lambda old=old: self._has_hot_standby(old), "a standby follows", 90)
            process, began_at = self.replicas.replicas[old], time.monotonic()
            await process.stop(signal.SIGKILL)
            process.forget(math.inf)
            await process.start()
            first = await self.until_first(began_at, old)
            self.took[KINDS[0]].append(first - began_at)
            self.count_late(old, first)
            await self.replicas.until_owner(old)
            if number % CHECK_INTERVAL == 0:
                await self.check()
                took = self.took[KINDS[0]][-CHECK_INTERVAL:]
                times = f"median {median(took):.2f} s, longest {max(took):.2f} s"
                shown = f"{times}, {self.lost} of {self.checked} lost, {self.late} late, {self.fleet.repeated()} twice"
                print(f"{number} kills: {shown}", file=sys.stderr, flush=True)

    def _has_hot_standby(self, owner: str) -> bool:
        return any(one.all("standby follows") for address, one in self.replicas.replicas.items() if address != owner)

    def figures(self) -> dict[str, Figure]:
        """All of it."""
        shown: dict[str, Figure] = {}
        if self.waited:
            shown[f"{CLOCK}: longest wait of a trigger"] = at_most(max(self.waited), "s", TARGET)
        for kind, took in self.took.items():
            shown[f"{kind}, median"] = Figure(median(took), "s")
            shown[f"{kind}, longest of {len(took)}"] = at_most(max(took), "s", TARGET)
        for kind, took in self.attached.items():
            shown[f"{kind}: all agents elsewhere, longest"] = Figure(max(took), "s")
        if self.last:
            shown["last acknowledgement of an owner cut off, longest"] = Figure(max(self.last), "s")
            shown["acknowledged by it after another replica had"] = at_most(self.late_answers, "triggers", 0)
        fleet = self.fleet
        twice = fleet.repeated()
        again = len(fleet.commands) - twice - len({(one.rejoin_id, one.attempt) for one in fleet.commands})
        return {
            **shown,
            "triggers acknowledged": Figure(self.checked, "triggers"),
            "of these lost": at_most(self.lost, "triggers", 0),
            "commands carried out": Figure(len(fleet.commands), "commands"),
            "of a replaced owner": at_most(self.late, "commands", 0),
            "sent again by a new owner": Figure(again, "commands"),
            "attempts commanded twice by one owner": at_most(twice, "commands", 0),
        }


@dataclass(frozen=True)
class Plan:
    """What is done."""

    kinds: Sequence[str]
    rounds: int
    kills: int
    """Instead of rounds of all kinds; 0: those."""
    known: int


async def measure(directory: Path, plan: Plan, *, has_hosts: bool) -> dict[str, Figure]:
    """Take over so many times of each kind."""
    nodes = [f"n{number}" for number in range(NODES)]
    settings = {"deciding_window": "1", "deciding_verify_timeout": "1", "deciding_request_memory": "86400"}
    settings["deciding_decision_limit"] = "1000000"
    async with AsyncExitStack() as stack:
        hosts: Sequence[Host] = ()
        if has_hosts:
            network = await stack.enter_async_context(Network(MEMBERS + REPLICAS))
            await network.join()
            hosts = network.hosts
        flags = ("--heartbeat-interval", "50", "--election-timeout", "500")
        etcd = await stack.enter_async_context(running_etcd(directory, MEMBERS, *flags, hosts=hosts[:MEMBERS]))
        if plan.known:
            await fill(etcd, plan.known)
        clocks = WallClocks(directory)
        os.environ["PYTHONPATH"] = clocks.path
        replicas = await stack.enter_async_context(
            cluster(directory, etcd.endpoints, REPLICAS, hosts[MEMBERS:], **settings)
        )
        fleet = await stack.enter_async_context(Fleet(list(replicas.replicas), nodes, CLIENTS, PAUSE))
        measured = Rounds(etcd, replicas, fleet, hosts, clocks)
        await measured.kill(plan.kills)
        for _ in range(0 if plan.kills else plan.rounds):
            for kind in plan.kinds:
                await measured.one(kind)
        await fleet.until_more(BEFORE)
        await measured.check()
        shown = measured.figures()
        if plan.known:
            shown[f"state of {plan.known} nodes in {STORES} stores, read cold"] = Figure(await read_cold(etcd), "s")
        return shown


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="takeovers of each kind (20)")
    parser.add_argument("--kills", type=int, default=0, help="kill the owner so many times, and do nothing else (0)")
    parser.add_argument("--only", default="", help="the kinds with this in their name")
    parser.add_argument("--known", type=int, default=0, help=f"nodes known besides, in {STORES} stores each (0)")
    flags = parser.parse_args()
    if ETCD is None:
        sys.exit("needs etcd: apt-get install etcd-server")
    missing = what_is_missing()
    if missing:
        print(f"nobody is cut off: {missing}", file=sys.stderr)
    else:
        leave_for_own_namespace()
    kinds = [one for one in (CLOCK, *KINDS, *(() if missing else CUTS)) if flags.only in one]
    plan = Plan(kinds, 2 if flags.quick else flags.rounds, flags.kills, flags.known)
    directory = Path(tempfile.mkdtemp())
    try:
        shown = run(measure(directory, plan, has_hosts=not missing))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show("takeover", shown, flags.as_json)


if __name__ == "__main__":
    main()
