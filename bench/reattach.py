"""How soon the agents of a large fleet are attached again after the owner of three replicas was killed.

Three members of etcd, three replicas, two processes of agents, and the clients that ask for rejoins all the while, on
this machine. The agents are light (``bench.attached_agents``), because on this machine all of them share two cores with
what is measured; each has a connection of its own, reports all its stores, and looks for the owner as every agent does.
A round begins once all have been attached for long enough to count as steady.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gossipcontrol.agent.agent import STEADY

from bench.h2load import process_seconds
from bench.report import Figure, arguments, at_most, run, show
from bench.takeover import BEFORE, CLIENTS, NODES, PAUSE, TARGET
from tests.kit.etcd import ETCD, running_etcd
from tests.kit.process import Line, Process
from tests.kit.replicas import Cluster, Fleet, cluster
from tests.kit.until import until

PROCESSES = 2
"""Of agents."""
WITHIN = 120.0
"""Seconds that the agents have in each round."""
SHARES = (0.5, 0.99, 1.0)
BURST = 0.5
"""Seconds over which the most attachments are counted."""


@dataclass
class Agents:
    """What the processes of agents print."""

    attached: dict[int, tuple[float, str]] = field(default_factory=dict[int, tuple[float, str]])
    """When each node was last attached (monotonic), and where."""
    settled: dict[int, float] = field(default_factory=dict[int, float])
    """When each had the views of all its stores again."""
    totals: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """By process."""

    def hear(self, process: Process, line: Line) -> None:
        """One line."""
        if line["event"] != "agents":
            print(line.get("text", line), file=sys.stderr)
            return
        self.attached |= {node: (at, where) for node, at, where in line["attached"]}
        self.settled |= dict(line["settled"])
        self.totals[process.name] = Counter(line["total"])
        process.forget(line["ts"])

    def total(self) -> Counter[str]:
        """Of all processes, since their start."""
        return sum(self.totals.values(), Counter[str]())

    def since(self, instant: float, other_than: str) -> list[float]:
        """When nodes were attached after an instant to another replica than this one, the earliest first."""
        return sorted(at for at, where in self.attached.values() if at > instant and where != other_than)


@dataclass(frozen=True)
class Round:
    """What one takeover took, in seconds from the signal."""

    first: float
    """Until a trigger was acknowledged."""
    attached: dict[float, float]
    """Until so large a share of the agents was attached."""
    settled: float
    """Until all of them had their views again."""
    busiest: float
    """Attachments per second, where most came."""
    wait: float
    """That 99 of 100 callers had to wait at most who asked while agents came back."""
    owner: float
    """CPU seconds of the new owner, until all agents had their views again."""
    agents: float
    """CPU seconds of the agents."""
    did: Counter[str]
    """What the agents counted meanwhile."""
    late: int
    """Commands of the old owner after the new one had acknowledged something."""

    def tell(self) -> str:
        """One line."""
        shares = ", ".join(f"{share:.0%} {took:.2f}" for share, took in self.attached.items())
        return (
            f"first {self.first:.2f} s; attached {shares}; views {self.settled:.2f}; at most {self.busiest:.0f}/s; "
            f"callers' p99 {self.wait * 1000:.0f} ms; CPU {self.owner:.1f} owner, {self.agents:.1f} agents; "
            f"{dict(self.did)}"
        )


@dataclass
class Lab:
    """Everything that runs."""

    replicas: Cluster
    fleet: Fleet
    agents: Agents
    processes: list[Process]
    count: int

    async def steady(self) -> None:
        """Wait until every agent has been attached to the owner for a while, and sees its stores."""
        owner = self.replicas.owner()

        def is_steady() -> bool:
            here = [at for at, where in self.agents.attached.values() if where == owner]
            is_there = len(here) == self.count == len(self.agents.settled)
            return is_there and time.monotonic() - max(here) > STEADY

        try:
            await until(is_steady, f"{self.count} agents are attached for {STEADY:g} s", WITHIN)
        except AssertionError as error:
            here = sum(where == owner for _, where in self.agents.attached.values())
            seen = f"{here} are at {owner}, {len(self.agents.settled)} have their views: {dict(self.agents.total())}"
            raise AssertionError(f"{error}; {seen}; load {os.getloadavg()[0]:.1f}") from None

    async def kill(self) -> Round:
        """Kill the owner, and see how the agents come back; then start it again."""
        await self.steady()
        await self.fleet.until_more(BEFORE)
        old = self.replicas.owner()
        process, before = self.replicas.replicas[old], self.agents.total()
        used = {one: process_seconds(one.pid) for one in (*self.replicas.replicas.values(), *self.processes)}
        self.agents.settled.clear()
        began_at = time.monotonic()
        await process.stop(signal.SIGKILL)
        asked = self.fleet.asked
        await until(lambda: asked.first_after(began_at, old) is not None, "another replica acknowledges", WITHIN)
        first = asked.first_after(began_at, old) or 0.0
        await until(lambda: len(self.agents.since(began_at, old)) == self.count, "all agents are attached", WITHIN)
        came = self.agents.since(began_at, old)
        await until(lambda: len(self.agents.settled) == self.count, "all agents have their views", WITHIN)
        owner = self.replicas.replicas[self.replicas.owner()]
        measured = Round(
            first=first - began_at,
            attached={share: came[max(0, int(share * self.count) - 1)] - began_at for share in SHARES},
            settled=max(self.agents.settled.values()) - began_at,
            busiest=_busiest(came),
            wait=_p99([took for at, took in asked.waits if first < at < came[-1]]),
            owner=process_seconds(owner.pid) - used[owner],
            agents=sum(process_seconds(one.pid) - used[one] for one in self.processes),
            did=self.agents.total() - before,
            late=sum(1 for one in self.fleet.commands if one.address == old and one.at > first),
        )
        print(measured.tell(), file=sys.stderr, flush=True)
        await self._repair(process, old)
        return measured

    async def _repair(self, process: Process, address: str) -> None:
        came_at = time.time()
        await process.start()
        await process.wait_for("standby follows", 60, after=came_at)
        assert self.replicas.owner() != address


def _busiest(came: Sequence[float]) -> float:
    first = most = 0
    for last, at in enumerate(came):
        while came[first] < at - BURST:
            first += 1
        most = max(most, last - first + 1)
    return most / BURST


def _p99(waits: Sequence[float]) -> float:
    return sorted(waits)[int(0.99 * len(waits))] if waits else 0.0


async def measure(directory: Path, agents: int, stores: int, rounds: int) -> dict[str, Figure]:
    """Kill the owner so many times."""
    settings = {"deciding_window": "1", "deciding_verify_timeout": "1", "deciding_request_memory": "86400"}
    async with AsyncExitStack() as stack:
        flags = ("--heartbeat-interval", "50", "--election-timeout", "500")
        etcd = await stack.enter_async_context(running_etcd(directory, 3, *flags))
        replicas = await stack.enter_async_context(cluster(directory, etcd.endpoints, 3, **settings))
        nodes = [f"n{number}" for number in range(NODES)]
        fleet = await stack.enter_async_context(Fleet(list(replicas.replicas), nodes, CLIENTS, PAUSE))
        seen = Agents()
        numbers = ("--agents", str(agents), "--stores", str(stores), "--parts", str(PROCESSES))
        processes = [
            Process(
                f"agents {part}", sys.executable, "-m", "bench.attached_agents",
                "--addresses", ",".join(replicas.replicas), *numbers, "--part", str(part), on_line=seen.hear,
            )
            for part in range(PROCESSES)
        ]  # fmt: skip
        for one in processes:
            await stack.enter_async_context(one)
        lab = Lab(replicas, fleet, seen, processes, agents)
        measured = [await lab.kill() for _ in range(rounds)]
        await fleet.until_more(BEFORE)
        lost = await fleet.lost()
        return _figures(measured, lab, len(lost), f"{agents:,} agents in {stores} stores")


def _figures(measured: Sequence[Round], lab: Lab, lost: int, what: str) -> dict[str, Figure]:
    total = lab.agents.total()
    twice = lab.fleet.repeated()

    def longest(values: Sequence[float]) -> Figure:
        return Figure(max(values), "s")

    return {
        "first trigger acknowledged, longest": at_most(max(one.first for one in measured), "s", TARGET),
        **{
            f"{share:.0%} of {what} attached again, longest": longest([one.attached[share] for one in measured])
            for share in SHARES
        },
        "all of them have their views again, longest": longest([one.settled for one in measured]),
        "most attachments per second": Figure(max(one.busiest for one in measured), "1/s"),
        "attempts per agent and takeover": Figure(
            statistics.mean(one.did["attempts"] for one in measured) / lab.count, "attempts"
        ),
        "callers' wait meanwhile, p99": Figure(max(one.wait for one in measured) * 1000, "ms"),
        "CPU of the new owner until all views are back": Figure(statistics.mean(one.owner for one in measured), "s"),
        "CPU of the agents meanwhile": Figure(statistics.mean(one.agents for one in measured), "s"),
        "peers said to be away": at_most(total["said to be away"], "peers", 0),
        "triggers acknowledged": Figure(len(lab.fleet.asked.answers), "triggers"),
        "of these lost": at_most(lost, "triggers", 0),
        "frames of an older epoch": at_most(total["older epochs"], "frames", 0),
        "commands of a replaced owner": at_most(sum(one.late for one in measured), "commands", 0),
        "attempts commanded twice by one owner": at_most(twice, "commands", 0),
        "load of the machine at the end": Figure(os.getloadavg()[0], f"of {os.cpu_count()} cores"),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--agents", type=int, default=2000, help="attached agents (2000)")
    parser.add_argument("--stores", type=int, default=10, help="stores of each, which 20 of them share (10)")
    parser.add_argument("--rounds", type=int, default=2, help="takeovers (2)")
    flags = parser.parse_args()
    if ETCD is None:
        sys.exit("needs etcd: apt-get install etcd-server")
    directory = Path(tempfile.mkdtemp())
    try:
        agents, rounds = (200, 1) if flags.quick else (flags.agents, flags.rounds)
        shown = run(measure(directory, agents, flags.stores, rounds))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show("reattach", shown, flags.as_json)


if __name__ == "__main__":
    main()
