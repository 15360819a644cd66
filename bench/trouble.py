"""How soon all nodes hear each other again after troubles of every kind, one after another at random.

Six real iroh-gossip nodes on hosts of their own, three on each of two bridges with a cable between them; every host has
a watcher, every node an agent, and all report to one service. A trouble is over when every node has received a message
of every other since its cause was removed. The seed decides which troubles come, on which host, and for how long.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bench.report import Figure, arguments, at_most, show
from tests.kit.fleet import Fleet
from tests.kit.network import what_is_missing
from tests.kit.process import Line

LONGEST = 60.0
"""Seconds within which every trouble is over; the target."""
REMEMBERED = 120.0
"""Seconds for which the lines of the processes are kept."""

Trouble: TypeAlias = Callable[[Fleet, int, random.Random], Awaitable[None]]
"""Happens to one host of the fleet, given by its number, and ends again."""


async def flap(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The link is down for a moment, too short for the agent to suspend the node."""
    await _down(fleet, (number,), chance.uniform(0.05, 2.5))


async def flap_twice(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The agent suspends the node, and the link flaps again about when it resumes."""
    await _down(fleet, (number,), chance.uniform(3.0, 5.0))
    await asyncio.sleep(chance.uniform(0.0, 6.0))
    await _down(fleet, (number,), chance.uniform(0.05, 4.0))


async def link_down(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The link is down until the node is suspended; one time in three longer than the transport's idle timeout."""
    await _down(
        fleet, (number,), chance.choice((chance.uniform(2.8, 3.3), chance.uniform(4, 12), chance.uniform(30, 45)))
    )


async def two_links_down(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The links of two hosts are down at once."""
    await _down(fleet, (number, (number + 1) % len(fleet.hosts)), chance.uniform(2, 20))


async def cable_cut(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The cable between the bridges is cut, so no host has a link event."""
    await fleet.cut_for(chance.uniform(3, 60))


async def lose(chains: tuple[str, ...], fleet: Fleet, number: int, chance: random.Random) -> None:
    """Packets of these chains are lost while the link is up: incoming ones, outgoing ones, or both."""
    await fleet.hosts[number].drop(*chains)
    await asyncio.sleep(chance.uniform(5, 50))
    await fleet.hosts[number].mend()


async def frozen(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The process of a node is suspended (SIGSTOP)."""
    fleet.nodes[number].freeze()
    await asyncio.sleep(chance.uniform(2, 40))
    fleet.nodes[number].thaw()


async def service_killed(fleet: Fleet, number: int, chance: random.Random) -> None:
    """The service is killed, and started again."""
    await fleet.service.stop(signal.SIGKILL)
    await asyncio.sleep(chance.uniform(0, 3))
    await fleet.service.start()


KINDS: dict[str, Trouble] = {
    "link flaps": flap,
    "link flaps twice": flap_twice,
    "link down": link_down,
    "two links down": two_links_down,
    "cable cut": cable_cut,
    "incoming lost": partial(lose, ("INPUT",)),
    "outgoing lost": partial(lose, ("OUTPUT",)),
    "both lost": partial(lose, ("INPUT", "OUTPUT")),
    "node frozen": frozen,
    "service killed": service_killed,
}


async def _down(fleet: Fleet, numbers: tuple[int, ...], seconds: float) -> None:
    hosts = [fleet.hosts[number] for number in numbers]
    await asyncio.gather(*(host.link_down() for host in hosts))
    await asyncio.sleep(seconds)
    await asyncio.gather(*(host.link_up() for host in hosts))


async def until_heard(fleet: Fleet, since: float) -> float | None:
    """Seconds from an instant (wall clock) until all nodes have heard each other; None when it takes too long."""
    try:
        heard = await asyncio.gather(
            *(
                node.wait_for("heard", LONGEST, after=since, peer=peer_id)
                for node, node_id in zip(fleet.nodes, fleet.ids, strict=True)
                for peer_id in fleet.ids
                if peer_id != node_id
            )
        )
    except TimeoutError:
        return None
    return max(0.0, max(float(line["ts"]) for line in heard) - since)


async def measure(minutes: float, seed: int) -> dict[str, Figure]:
    """Cause troubles for so many minutes."""
    chance, took, error_count = random.Random(seed), dict[str, list[float | None]](), 0
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        async with Fleet(Path(directory), near=3, beyond=3, watched=True) as fleet:
            ends_at = time.monotonic() + minutes * 60
            while time.monotonic() < ends_at:
                name, number = chance.choice(list(KINDS)), chance.randrange(len(fleet.hosts))
                began_at = time.time()
                await KINDS[name](fleet, number, chance)
                over_at = time.time()
                seconds = await until_heard(fleet, over_at)
                took.setdefault(name, []).append(seconds)
                print(
                    f"{name}, host {number + 1}, for {over_at - began_at:.1f} s: {_outcome(seconds)}",
                    file=sys.stderr,
                    flush=True,
                )
                for process in fleet.processes:
                    errors = [line for line in process.lines if line["ts"] > began_at and _is_error(line)]
                    error_count += len(errors)
                    print("".join(f"  {process.name}: {line}\n" for line in errors), file=sys.stderr, end="")
                    process.forget(time.time() - REMEMBERED)
    return _figures(took, error_count, seed)


def _outcome(seconds: float | None) -> str:
    return f"not over within {LONGEST:g} s" if seconds is None else f"over after {seconds:.2f} s"


def _is_error(line: Line) -> bool:
    """Whether a line reports an error of the process itself."""
    return line["event"] == "error" or "Traceback" in str(line.get("text"))


def _figures(took: dict[str, list[float | None]], error_count: int, seed: int) -> dict[str, Figure]:
    figures = {"seed": Figure(seed, ""), "troubles": Figure(sum(map(len, took.values())), "")}
    for name in KINDS:
        seconds = [LONGEST if one is None else one for one in took.get(name, ())]
        if seconds:
            figures[f"{name}: median of {len(seconds)}"] = Figure(statistics.median(seconds), "s")
            figures[f"{name}: maximum"] = Figure(max(seconds), "s")
    lasting = sum(one is None for seconds in took.values() for one in seconds)
    figures[f"not over within {LONGEST:g} s"] = at_most(lasting, "troubles", 0)
    figures["errors in the logs"] = Figure(error_count, "")
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the troubles (1)")
    chosen = parser.parse_args()
    if missing := what_is_missing():
        sys.exit(missing)
    show("trouble", asyncio.run(measure(3.0 if chosen.quick else chosen.minutes, chosen.seed)), chosen.as_json)


if __name__ == "__main__":
    main()
