"""Acknowledged triggers per second over real gRPC: memory, SQLite, and etcd with three members and with one.

The load comes from h2load, a generator in C; a bare group-commit loop is the limit of SQLite. The services take turns,
so a noisy machine affects all alike. Everything is on this machine. With --apart each service has the first core for
itself, and etcd and the load share the others, as where etcd is elsewhere; on two cores etcd and the load are then
slower than they would be elsewhere. What etcd costs the service itself is its CPU time per trigger.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gossipcontrol.agent import Agent
from gossipcontrol.client import Client
from gossipcontrol.v1 import gossip_control_pb2

from bench import h2load
from bench.report import Figure, arguments, at_least, run, show
from tests.kit.etcd import ETCD, running_etcd
from tests.kit.ports import free_ports
from tests.kit.process import service
from tests.kit.silent_node import SilentNode
from tests.kit.until import until

MEMBERS = {"etcd": 3, "etcd of one member": 1}
"""Of etcd, by the backend's name here."""
IN_FLIGHT = (1, 8, 32, 128)
LEAST_IN_FLIGHT = 32
"""From here on many triggers share a commit, and the targets apply."""
METHOD = "/gossipcontrol.v1.GossipControl/Rejoin"
NODE = "n" * 64
ROW = f'{{"node_id":"{NODE}","store_ids":[],"cause":1}}'
BARE_TIME = 0.5
"""Seconds of each turn of the bare loop."""


def bare(path: Path, in_flight: int) -> float:
    """Rows per second when each transaction commits ``in_flight`` rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS log (x)"
    )
    rows, started_at = 0, time.perf_counter()
    while time.perf_counter() < started_at + BARE_TIME:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO log VALUES (?)", [(ROW,)] * in_flight)
        connection.execute("COMMIT")
        rows += in_flight
    rate = rows / (time.perf_counter() - started_at)
    connection.close()
    return rate


@dataclass(frozen=True)
class Target:
    """A service that is measured."""

    port: int
    pid: int


class Measured:
    """What was found, by backend and triggers in flight, a figure per round."""

    def __init__(self) -> None:
        self.rates: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self.cpu: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        """Of the service per trigger, in microseconds."""
        self.client_share = 0.0
        """The largest share of a core that the load generator used."""

    def ratio(self, found: Mapping[tuple[str, int], list[float]], one: str, other: str, in_flight: int) -> float:
        """The median of the ratios of each round."""
        return median(a / b for a, b in zip(found[one, in_flight], found[other, in_flight], strict=True))


def keep_to(cores: set[int], pid: int = 0) -> None:
    """Have a process (0: this one, and what it starts) use these cores alone."""
    tasks = [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()] if pid else [0]
    for task in tasks:
        with suppress(ProcessLookupError):  # a thread that has ended
            os.sched_setaffinity(task, cores)


async def serve(stack: AsyncExitStack, directory: Path, backend: str, *, apart: bool) -> Target:
    """A service with an agent attached."""
    (place := directory / backend).mkdir()
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    settings = {"state_backend": backend, "log_level": "warning", "listen_tcp": address}
    if members := MEMBERS.get(backend, 0):
        etcd = await stack.enter_async_context(running_etcd(place, members))
        endpoints = ",".join(etcd.endpoints)
        settings |= {"state_backend": "etcd", "etcd_endpoints": endpoints, "etcd_address": address}
    serving = await stack.enter_async_context(service(None, place, log_to=None, **settings))
    client = await stack.enter_async_context(Client(address, timeout=30))
    await until_serving(client)
    agent = Agent(SilentNode(["notes"], NODE), address)
    stack.callback(asyncio.create_task(agent.run()).cancel)
    await agent.attached.wait()
    if apart:
        keep_to({0}, serving.pid)
    return Target(port, serving.pid)


async def until_serving(client: Client) -> None:
    """Wait until it serves: a replica stands by first."""

    async def serves() -> bool:
        return await client.serving()

    await until(serves, "the service serves", 60)


async def measure(directory: Path, calls: int, rounds: int, *, apart: bool) -> dict[str, Figure]:
    """Measure all backends; without etcd those that need none."""
    backends = ["memory", "sqlite", *(MEMBERS if ETCD else ())]
    if apart:
        keep_to(set(range(1, os.cpu_count() or 1)))
    async with AsyncExitStack() as stack:
        targets = {backend: await serve(stack, directory, backend, apart=apart) for backend in backends}
        measured = await asyncio.to_thread(in_turns, directory, targets, calls, rounds)
    return figures(measured, backends)


def in_turns(directory: Path, targets: Mapping[str, Target], calls: int, rounds: int) -> Measured:
    """Load all services and the bare loop in turns; the first round warms up."""
    message = gossip_control_pb2.RejoinRequest(node_id=NODE).SerializeToString()
    measured = Measured()
    for turn in range(rounds + 1):
        for in_flight in IN_FLIGHT:
            many = calls if in_flight > 1 else calls // 5
            for backend, one in targets.items():
                load = h2load.run(one.port, METHOD, message, calls=many, in_flight=in_flight, server_pid=one.pid)
                measured.client_share = max(measured.client_share, load.client_share)
                if turn:
                    measured.rates[backend, in_flight].append(load.rate)
                    measured.cpu[backend, in_flight].append(load.server_us)
            limit = bare(directory / "bare.db", in_flight)
            measured.rates["bare", in_flight] += [limit] if turn else []
    return measured


def figures(measured: Measured, backends: list[str]) -> dict[str, Figure]:
    """Medians of the rates, of the CPU times, and of the ratios per round."""
    shown: dict[str, Figure] = {}
    for in_flight in IN_FLIGHT:
        what = f"{in_flight} in flight"
        for backend in backends:
            shown[f"{backend}, {what}"] = Figure(median(measured.rates[backend, in_flight]), "triggers/s")
        for backend in backends:
            cpu = median(measured.cpu[backend, in_flight])
            shown[f"{backend}, CPU of the service, {what}"] = Figure(cpu, "us/trigger")
        for backend in backends[1:]:
            ratio = measured.ratio(measured.rates, backend, "memory", in_flight)
            has_target = in_flight >= LEAST_IN_FLIGHT and MEMBERS.get(backend) != 1
            shown[f"{backend}/memory, {what}"] = at_least(ratio, "times", 0.5) if has_target else Figure(ratio, "times")
            by_cpu = measured.ratio(measured.cpu, "memory", backend, in_flight)
            shown[f"{backend}/memory by the service's CPU, {what}"] = Figure(by_cpu, "times")
        shown[f"bare SQLite loop, {what}"] = Figure(median(measured.rates["bare", in_flight]), "rows/s")
        shown[f"sqlite/bare loop, {what}"] = Figure(
            measured.ratio(measured.rates, "sqlite", "bare", in_flight), "times"
        )
    return {**shown, "load generator": Figure(measured.client_share * 100, "% of one core")}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--apart", action="store_true", help="the first core for the services, the others for the rest")
    flags = parser.parse_args()
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    if ETCD is None:
        print("without etcd: apt-get install etcd-server", file=sys.stderr)
    if flags.apart and (os.cpu_count() or 1) < 2:
        sys.exit("--apart needs two cores")
    calls, rounds = (1_000, 2) if flags.quick else (6_000, 7)
    with tempfile.TemporaryDirectory() as directory:
        shown = run(measure(Path(directory), calls, rounds, apart=flags.apart))
    show("durability", shown, flags.as_json)


if __name__ == "__main__":
    main()
