"""Whether memory, descriptors, threads and tasks stay flat in an hour of troubles, hostile and honest clients.

One real service with a state file. Agents with their nodes (twenty, or a fleet: ``--agents 1000 --stores 100``), a
client that reports and asks for rejoins, and a watcher of presence are honest. Beside them one hostile client does
everything of ``bench/hostile`` in turn, slowly; and now and then the service stands still, the network of all agents
changes, or neighbours come and go. Looked at every ten seconds; flat: the slope after the warm-up, over the whole of
it, is within a bound.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from gossipcontrol.agent import Agent
from gossipcontrol.client import Client
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.config import read_config
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.process import serve
from gossipcontrol.server.runtime.event_loop import new_event_loop

from bench.hostile import ATTACKS, Honest, Target, carry_out, let_go
from bench.report import Figure, arguments, at_least, at_most, show
from tests.kit.ports import free_ports
from tests.kit.process import Process
from tests.kit.silent_node import SilentNode
from tests.kit.until import until

RAMP = 25
"""Agents that start in a second: all of them at once would wait for this process, not for the service."""
SHARED = 10
"""Agents that share a store, apart from the one that all have."""
SAMPLE = 10.0
"""Seconds between two looks at the process."""
WARM_UP = 0.4
"""Share of the time that the books need to fill: what comes after it must be flat."""
PACE = 0.1
"""Seconds between two steps of the hostile client: it tries the bounds, not the processor."""
KIND = 8.0
"""Seconds of each kind of attack."""
TROUBLE = 25.0
"""Seconds between two troubles, as the default of ``--trouble``."""
HONEST_TIMEOUT = 20.0
"""Seconds that an honest call waits: longer than the longest standstill, which no service can answer in."""
HELD = 200
"""Most streams and sockets that the hostile client holds."""
MEMORY = 256
"""MB of ``limits.memory`` where the service has that setting."""
MEMORY_PER_STORE = 8
"""kB more of it for each further store of an agent."""
TICK = 0.05
"""Seconds that the service sleeps to see how late its event loop wakes it."""
BOUNDS = {
    "resident memory, MB": 40.0, "descriptors": 40.0, "threads": 4.0, "tasks": 100.0, "loop delay, ms": 20.0,
}  # fmt: skip
"""How much each may grow from the end of the warm-up to the end, by the line through all samples."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The process at one instant (seconds since the begin)."""

    at: float
    values: dict[str, float]
    threads: dict[str, int]
    """How many by name: what gRPC starts has names of its own, what Python starts that of the process."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many honest agents, and how many stores each has."""

    agents: int = 20
    stores: int = 1

    def stores_of(self, number: int) -> list[str]:
        """One store of all agents, and others with its neighbours."""
        return ["mine", *(f"store-{number // SHARED}-{one}" for one in range(1, self.stores))]

    def neighbour(self, number: int, store_id: str, chance: random.Random) -> str:
        """Another agent of the store."""
        group = range(self.agents) if store_id == "mine" else range(number - number % SHARED, self.agents)[:SHARED]
        return f"agent-{chance.choice(group)}"

    @property
    def memory(self) -> int:
        """Bytes of the service's budget."""
        return (MEMORY << 20) + self.agents * (self.stores - 1) * MEMORY_PER_STORE * 1024


def sample(pid: int, own: Path, began: float) -> Sample:
    """Look at the process, and at what it says of its tasks and its event loop."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    names = list(BOUNDS)
    tasks, delay = json.loads(own.read_text() or "[0, 0]") if own.exists() else (0, 0)
    found = (
        int(fields["VmRSS"].split()[0]) / 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(fields["Threads"]),
        tasks,
        delay,
    )
    return Sample(time.monotonic() - began, dict(zip(names, map(float, found), strict=True)), _threads(pid))


def _threads(pid: int) -> dict[str, int]:
    """The threads of a process by name."""
    counted = Counter[str]()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            counted[(thread / "comm").read_text().strip()] += 1
    return dict(counted)


class Troubles:
    """What happens to the service and its clients."""

    def __init__(self, service: Process, agents: list[Agent], every: float) -> None:
        self._service = service
        self._agents = agents
        self._every = every
        self.count = 0

    async def go_on(self, chance: random.Random) -> None:
        """One trouble after the other, for ever."""
        kinds = (self._stop, self._network, self._leave)
        while True:
            await asyncio.sleep(self._every * chance.uniform(0.5, 1.5))
            await chance.choice(kinds)(chance)
            self.count += 1

    async def _stop(self, chance: random.Random) -> None:
        """The service stands still."""
        os.kill(self._service.pid, signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(1.0, 12.0))
        os.kill(self._service.pid, signal.SIGCONT)

    async def _network(self, chance: random.Random) -> None:
        """The hosts of all agents change their network at once."""
        del chance
        for agent in self._agents:
            agent.network_changed()

    async def _leave(self, chance: random.Random) -> None:
        """Neighbours come and go."""
        for agent in self._agents:
            peer_id = f"agent-{chance.randrange(len(self._agents))}"
            (agent.neighbor_up if chance.random() < 0.7 else agent.neighbor_down)("mine", peer_id)


async def attack(target: Target) -> None:
    """Every kind of attack in turn, for ever."""
    number = 0
    while True:
        for kind in ATTACKS.values():
            ends = time.monotonic() + KIND
            while time.monotonic() < ends:
                number += 1
                await carry_out(kind, target, number)
                if len(target.held) > HELD:
                    let_go(target)
                await asyncio.sleep(PACE)
            let_go(target)


async def _watch(address: str) -> None:
    """Follow the presence of the store, whatever breaks."""
    while True:
        with suppress(Exception):
            async with Client(address) as client:
                async for _ in client.watch_peers("mine"):
                    pass
        await asyncio.sleep(1.0)


async def _speak(agents: list[Agent], shape: Shape, chance: random.Random) -> None:
    """Every node hears three others about once a second, in one store after the other."""
    stores, turn = [shape.stores_of(number) for number in range(shape.agents)], 0
    while True:
        for number, agent in enumerate(agents):
            store_id = stores[number][turn % shape.stores]
            agent.sent(store_id)
            for _ in range(3):
                agent.received(store_id, shape.neighbour(number, store_id, chance), direct=True)
        turn += 1
        await asyncio.sleep(1.0)


async def measure(minutes: float, seed: int, shape: Shape, trouble: float) -> dict[str, Figure]:
    """Run for some minutes."""
    port, metrics = free_ports(2)
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
        address, own = f"unix:{directory}/gossipcontrol.sock", directory / "own"
        settings = {
            "LISTEN_SOCKET": f"{directory}/gossipcontrol.sock", "LISTEN_TCP": f"127.0.0.1:{port}",
            "METRICS_ADDRESS": f"127.0.0.1:{metrics}", "STATE_PATH": f"{directory}/state.db", "LOG_LEVEL": "error",
        }  # fmt: skip
        if hasattr(read_config(None).limits, "memory"):
            settings["LIMITS_MEMORY"] = str(shape.memory)
        command = f"exec {sys.executable} -m bench.soak --serve {own} 2>>{directory}/log"
        environment = {f"GOSSIPCONTROL_{name}": value for name, value in settings.items()}
        service = await stack.enter_async_context(Process("service", "sh", "-c", command, environment=environment))
        await until((directory / "gossipcontrol.sock").exists, "the service listens", 20)
        agents = [
            Agent(SilentNode(shape.stores_of(number), f"agent-{number}"), address) for number in range(shape.agents)
        ]
        for agent in agents:
            agent.start()
            await asyncio.sleep(1 / RAMP)
        hostile, honest = open_channel(f"127.0.0.1:{port}"), open_channel(address)
        for channel in (hostile, honest):
            stack.push_async_callback(channel.close)
        target, client = Target(directory, port, metrics, service.pid, hostile), Honest(honest, HONEST_TIMEOUT)
        await client.attach()
        troubles = Troubles(service, agents, trouble)
        works = (client.go_on(), _speak(agents, shape, chance), _watch(address), attack(target), troubles.go_on(chance))
        running = [asyncio.create_task(work) for work in works]
        try:
            samples = await _look(service.pid, own, minutes * 60)
        finally:
            os.kill(service.pid, signal.SIGCONT)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            let_go(target)
            await asyncio.gather(*(agent.stop() for agent in agents))  # one by one they would take half an hour
        return _figures(samples, client, target, troubles.count)


async def _look(pid: int, own: Path, seconds: float) -> list[Sample]:
    began, samples = time.monotonic(), list[Sample]()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(SAMPLE)
        samples.append(sample(pid, own, began))
        print(
            json.dumps({"at": round(samples[-1].at), **samples[-1].values, "threads by name": samples[-1].threads}),
            file=sys.stderr,
            flush=True,
        )
    return samples


def _figures(samples: list[Sample], client: Honest, target: Target, troubles: int) -> dict[str, Figure]:
    steady = [one for one in samples if one.at >= WARM_UP * samples[-1].at]
    length, figures = steady[-1].at - steady[0].at, dict[str, Figure]()
    for name, bound in BOUNDS.items():
        values = [one.values[name] for one in steady]
        slope = statistics.linear_regression([one.at for one in steady], values).slope
        figures[f"{name}: first"] = Figure(samples[0].values[name], "")
        figures[f"{name}: after the warm-up, median"] = Figure(statistics.median(values), "")
        figures[f"{name}: highest"] = Figure(max(one.values[name] for one in samples), "")
        figures[f"{name}: per hour"] = Figure(slope * 3600, "1/h")
        figures[f"{name}: growth after the warm-up"] = at_most(slope * length, "", bound)
    for name in sorted({name for one in steady for name in one.threads}):
        counts = [one.threads.get(name, 0) for one in steady]
        figures[f"threads named {name}: after the warm-up"] = Figure(statistics.median(counts), "")
        figures[f"threads named {name}: highest"] = Figure(max(counts), "")
    failed = client.failures.total()
    figures["honest calls"] = Figure(len(client.waits), "calls")
    figures["honest calls served"] = at_least(100 * (1 - failed / max(1, len(client.waits))), "%", 99)
    figures["troubles"] = Figure(troubles, "troubles")
    figures["hostile steps"] = Figure(target.outcomes.total(), "steps")
    return figures


async def _serve(own: Path) -> None:
    """The service, which writes the number of its tasks and the median delay of its event loop to a file."""

    async def count() -> None:
        delays: deque[float] = deque(maxlen=round(SAMPLE / TICK))
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(TICK)
            delays.append(1000 * max(0.0, time.monotonic() - slept_at - TICK))
            if len(delays) % 20 == 0:
                seen = [len(asyncio.all_tasks()), round(statistics.median(delays), 2)]
                beside = own.with_suffix(".new")
                beside.write_text(json.dumps(seen))
                beside.replace(own)

    counting = asyncio.create_task(count())
    try:
        config = read_config(None)
        await serve(config, make_logger(config.log))
    finally:
        counting.cancel()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="of the troubles (1)")
    parser.add_argument("--agents", type=int, default=20, help="honest agents (20)")
    parser.add_argument("--stores", type=int, default=1, help="stores of each of them (1)")
    parser.add_argument("--trouble", type=float, default=TROUBLE, help=f"seconds between two troubles ({TROUBLE:g})")
    parser.add_argument("--serve", type=Path, help="be the measured service, and write what it knows of itself here")
    chosen = parser.parse_args()
    if chosen.serve:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(chosen.serve))
        return
    shape = Shape(chosen.agents, chosen.stores)
    figures = asyncio.run(measure(3.0 if chosen.quick else chosen.minutes, chosen.seed, shape, chosen.trouble))
    show("soak", figures, chosen.as_json)


if __name__ == "__main__":
    main()
