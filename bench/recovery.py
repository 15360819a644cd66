"""How long a node whose link was down for a minute takes to return to the overlay, with and without GossipControl.

Both are measured in one run, on swarms of three real iroh-gossip nodes on hosts of their own: some with a service, a
watcher and an agent on the first host, some bare. The first host of each is cut off and restored in the same rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path

from bench.report import Figure, at_most, rounds_on_hosts, show
from tests.kit.recovery import Round, cut_off, restore
from tests.kit.swarm import Swarm

SIDE_BY_SIDE = 3
"""Swarms of each kind at once, since they mostly wait."""
HEARTBEAT = 0.05
"""Seconds between two messages of each node; the wait for the next one is part of the figure, and stays small."""
WATCHED_FOR = 60.0
"""Seconds for which a bare node may recover by itself."""
STAGES = ("link to watcher", "watcher to service", "service to agent", "agent to neighbour")


async def measure(rounds: int, watched_for: float) -> tuple[list[Round], list[Round]]:
    """Measure so many rounds with GossipControl, and as many without."""
    batches = [min(SIDE_BY_SIDE, rounds - done) for done in range(0, rounds, SIDE_BY_SIDE)]
    with_it: list[Round] = []
    without: list[Round] = []
    for batch in batches:
        async with AsyncExitStack() as stack:
            made = [Swarm(_directory(stack), control=control, heartbeat=HEARTBEAT) for control in (True, False) * batch]
            swarms = await asyncio.gather(*(stack.enter_async_context(swarm) for swarm in made))
            await asyncio.gather(*(cut_off(swarm) for swarm in swarms))
            # One after another, so that no two share the cores at the same instant.
            controlled = [await restore(swarm, watched_for) for swarm in swarms if swarm.controlled]
            bare = await asyncio.gather(*(restore(swarm, watched_for) for swarm in swarms if not swarm.controlled))
        with_it += controlled
        without += bare
        print(f"{len(with_it)} of {rounds} rounds", file=sys.stderr)
    return with_it, without


def _directory(stack: AsyncExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))


def figures(with_it: Sequence[Round], without: Sequence[Round], watched_for: float) -> dict[str, Figure]:
    """Medians and maxima in milliseconds, and the median of each stage."""
    shown: dict[str, Figure] = {"rounds": Figure(len(with_it), "of each kind")}
    for name, label in (("neighbour", "link up to NEIGHBOR_UP"), ("delivered", "link up to first message")):
        times = [getattr(one, name) for one in with_it]
        shown[f"{label}, median"] = at_most(_milliseconds(statistics.median, times), "ms", 100)
        shown[f"{label}, maximum"] = at_most(_milliseconds(max, times), "ms", 500)
    names = [field.name for field in fields(Round)][:4]
    for stage, before, after in zip(STAGES, ["", *names], names, strict=False):
        times = [getattr(one, after) - (getattr(one, before) if before else 0.0) for one in with_it if one.neighbour]
        shown[f"of that, {stage}, median"] = Figure(_milliseconds(statistics.median, times), "ms")
    recovered = sum(one.delivered is not None for one in without)
    shown[f"without: nodes that recovered within {watched_for:g} s"] = at_most(recovered, f"of {len(without)}", 0)
    return shown


def _milliseconds(choose: Callable[[list[float]], float], times: Sequence[float | None]) -> float | None:
    """None when one of them never happened, which is worse than any number."""
    known = [one for one in times if one is not None]
    return choose(known) * 1000 if known and len(known) == len(times) else None


def main() -> None:
    chosen = rounds_on_hosts(__doc__, 10)
    rounds, watched_for = (1, 20.0) if chosen.quick else (chosen.rounds, WATCHED_FOR)
    show("recovery", figures(*asyncio.run(measure(rounds, watched_for)), watched_for), chosen.as_json)


if __name__ == "__main__":
    main()
