"""How long a node whose link was down for a minute takes to return to the overlay, with and without GossipControl.

Both are measured in one run, on swarms of real iroh-gossip nodes on hosts of their own: some with a service, a watcher
and an agent on the first host, some bare. The first host of each is cut off and restored in the same rounds; or, with
``--frozen``, its node's process is stopped and goes on, until all hear each other. The node is the Python one
(iroh-gossip 0.35), or a program with its flags, as gossipcontrol-iroh (Rust, iroh-gossip 0.101).
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path

from bench.report import Figure, arguments, at_most, show
from tests.kit.network import what_is_missing
from tests.kit.process import PYTHON_NODE
from tests.kit.recovery import CUT, Round, cut_off, freeze, restore, thaw
from tests.kit.swarm import Swarm

SIDE_BY_SIDE = 3
"""Swarms of each kind at once, since they mostly wait."""
HEARTBEAT = 0.05
"""Seconds between two messages of each node; the wait for the next one is part of the figure, and stays small.

With ``--frozen`` the figure ends with the last of all nodes to speak, so nearly a whole interval is part of it."""
WATCHED_FOR = 60.0
"""Seconds for which a bare node may recover by itself."""
STAGES = ("link to watcher", "watcher to service", "service to agent", "agent to neighbour")


async def measure(chosen: argparse.Namespace, watched_for: float) -> tuple[list[Round], list[Round]]:
    """Measure so many rounds with GossipControl, and as many without."""
    rounds = chosen.rounds
    happen, end = (freeze, thaw) if chosen.frozen else (cut_off, restore)
    batches = [min(SIDE_BY_SIDE, rounds - done) for done in range(0, rounds, SIDE_BY_SIDE)]
    with_it: list[Round] = []
    without: list[Round] = []
    for batch in batches:
        async with AsyncExitStack() as stack:
            made = [
                Swarm(_directory(stack), hosts=chosen.nodes, control=control, heartbeat=chosen.heartbeat,
                      program=shlex.split(chosen.program))
                for control in (True, False) * batch
            ]  # fmt: skip
            swarms = await asyncio.gather(*(stack.enter_async_context(swarm) for swarm in made))
            await asyncio.gather(*(happen(swarm, chosen.cut) for swarm in swarms))
            # One after another, so that no two share the cores at the same instant.
            controlled = [await end(swarm, watched_for) for swarm in swarms if swarm.controlled]
            bare = await asyncio.gather(*(end(swarm, watched_for) for swarm in swarms if not swarm.controlled))
        with_it += controlled
        without += bare
        print(f"{len(with_it)} of {rounds} rounds: {controlled}", file=sys.stderr)
    return with_it, without


def _directory(stack: AsyncExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))


def figures(
    with_it: Sequence[Round], without: Sequence[Round], watched_for: float, *, frozen: bool = False
) -> dict[str, Figure]:
    """Medians and maxima in milliseconds, and the median of each stage."""
    shown: dict[str, Figure] = {"rounds": Figure(len(with_it), "of each kind")}
    labels = ("process resumed to NEIGHBOR_UP", "process resumed to all hearing each other")
    labels = labels if frozen else ("link up to NEIGHBOR_UP", "link up to first message")
    for name, label in zip(("neighbour", "delivered"), labels, strict=True):
        times = [getattr(one, name) for one in with_it]
        shown[f"{label}, median"] = at_most(_milliseconds(statistics.median, times), "ms", 100)
        shown[f"{label}, maximum"] = at_most(_milliseconds(max, times), "ms", 500)
    if frozen:
        listed = [one.listed for one in with_it]
        shown["of that, until all others list it, median"] = Figure(_milliseconds(statistics.median, listed), "ms")
    names = [field.name for field in fields(Round)][:4]
    # A process that was stopped notices it itself: what the service orders comes later, or not at all.
    for stage, before, after in zip(STAGES, ["", *names], names, strict=False) if not frozen else ():
        times = [getattr(one, after) - (getattr(one, before) if before else 0.0) for one in with_it if one.neighbour]
        shown[f"of that, {stage}, median"] = Figure(_milliseconds(statistics.median, times), "ms")
    recovered = sum(one.delivered is not None for one in without)
    label, unit = f"without: nodes that recovered within {watched_for:g} s", f"of {len(without)}"
    shown[label] = Figure(recovered, unit) if frozen else at_most(recovered, unit, 0)
    return shown


def _milliseconds(choose: Callable[[list[float]], float], times: Sequence[float | None]) -> float | None:
    """None when one of them never happened, which is worse than any number."""
    known = [one for one in times if one is not None]
    return choose(known) * 1000 if known and len(known) == len(times) else None


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each kind (10)")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of a swarm (3)")
    parser.add_argument("--cut", type=float, default=CUT, help=f"seconds for which the link is down ({CUT:g})")
    parser.add_argument("--heartbeat", type=float, default=HEARTBEAT, help=f"seconds between messages ({HEARTBEAT:g})")
    parser.add_argument("--frozen", action="store_true", help="stop the node's process, and leave its link alone")
    parser.add_argument("--program", default=shlex.join(PYTHON_NODE), help="the node (gossipcontrol agent iroh)")
    return parser


def main() -> None:
    chosen = _parser().parse_args()
    if missing := what_is_missing():
        sys.exit(missing)
    watched_for = 20.0 if chosen.quick else WATCHED_FOR
    chosen.rounds = 1 if chosen.quick else chosen.rounds
    rounds = asyncio.run(measure(chosen, watched_for))
    show("recovery", figures(*rounds, watched_for, frozen=chosen.frozen), chosen.as_json)


if __name__ == "__main__":
    main()
