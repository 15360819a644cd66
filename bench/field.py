"""What troubles of real networks cost: messages heard per node during and after each, with GossipControl and bare.

Three iroh-gossip nodes on hosts of their own; the same trouble happens to a fleet in which every host has a watcher and
every node an agent, and at the same moment to a bare one. In the sidecar shape only the first host has them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from bench.report import Figure, arguments, at_least, at_most, run, show
from tests.kit.fleet import Fleet
from tests.kit.network import what_is_missing
from tests.kit.swarm import Swarm
from tests.kit.trouble import MOVED, ONE, SITE, TROUBLES, Scene, Shape, Trouble

HEARTBEAT = 0.5
"""Seconds between two messages of each node."""
WATCHED_FOR = 30.0
"""Seconds for which messages are counted after the cause's end."""
LIMITS = {"site renumbered at once": SITE, "site renumbered staggered": SITE, "host renumbered": MOVED}
"""Seconds within which all must be heard again; of the others, as where one node is concerned."""
LUCK = 0.95
"""A node hears no fewer messages than a bare one if it hears this share: two runs differ by a beat or two."""
SETTLED = 8.0
"""Seconds before the trouble in which the overlay mixes."""

Group: TypeAlias = Fleet | Swarm


@dataclass(frozen=True, slots=True)
class Case:
    """For how long a trouble happens, and in which shape."""

    seconds: float
    shape: Shape = Shape.HUB


CASES = {
    "router dies": Case(30.0),
    "VPN full tunnel": Case(20.0),
    "site renumbered at once": Case(0.0),
    "site renumbered staggered": Case(10.0),
    "uplink by metric": Case(75.0, Shape.SIDECAR),
    "silent 75 s black hole": Case(75.0, Shape.SIDECAR),
    "policy routing": Case(20.0),
    "host renumbered": Case(0.0),
    "host sleeps": Case(45.0, Shape.SIDECAR),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the nodes of one group heard."""

    during: list[int]
    after: list[int]
    """Messages heard by each node while the cause lasted, and in the time after its end."""
    healed: float | None
    """Seconds from the cause's end until everybody had heard everybody; None: not in that time."""
    misjudged: int
    """Times that a node which ran all the while was called asleep or offline after the trouble had to be over."""


async def suffer(trouble: Trouble, group: Group, seconds: float, watched_for: float) -> Outcome:
    """Let one trouble happen to one group."""
    began_at = time.time()
    await trouble.happen(Scene(group, 0, seconds))
    over_at = time.time()
    try:
        healed = await group.until_all_heard(over_at, watched_for) - over_at
    except TimeoutError:
        healed = None
    await asyncio.sleep(max(0.0, over_at + watched_for - time.time()))
    misjudged = len(await group.called_away()) if group.controlled else 0
    return Outcome(
        [len(node.all("heard", after=began_at)) - len(node.all("heard", after=over_at)) for node in group.nodes],
        [len(node.all("heard", after=over_at)) for node in group.nodes],
        healed,
        misjudged,
    )


async def measure_one(trouble: Trouble, case: Case, watched_for: float) -> tuple[Outcome, Outcome]:
    """The same trouble at the same moment, with and bare."""
    async with AsyncExitStack() as stack:
        groups: list[Group] = []
        for control in (True, False):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
            if case.shape is Shape.SIDECAR:
                groups.append(Swarm(directory, control=control, heartbeat=HEARTBEAT))
            else:
                groups.append(Fleet(directory, near=3, control=control, heartbeat=HEARTBEAT, watched=control))
        await asyncio.gather(*(stack.enter_async_context(group) for group in groups))
        if trouble.prepare is not None:
            await asyncio.gather(*(trouble.prepare(Scene(group, 0, case.seconds)) for group in groups))
        await asyncio.sleep(SETTLED)
        with_it, bare = await asyncio.gather(*(suffer(trouble, group, case.seconds, watched_for) for group in groups))
    return with_it, bare


def figures(name: str, seconds: float, with_it: Outcome, bare: Outcome) -> dict[str, Figure]:
    """Of one trouble."""
    shown: dict[str, Figure] = {}
    if seconds:
        shown[f"{name}: heard during, bare"] = Figure(min(bare.during), "by the node that heard least")
        shown[f"{name}: heard during, with"] = at_least(min(with_it.during), "", LUCK * min(bare.during))
    shown[f"{name}: heard after, bare"] = Figure(min(bare.after), "by the node that heard least")
    shown[f"{name}: heard after, with"] = at_least(min(with_it.after), "", LUCK * min(bare.after))
    shown[f"{name}: healed, bare"] = Figure(bare.healed, "s")
    shown[f"{name}: healed, with"] = at_most(with_it.healed, "s", LIMITS.get(name, ONE))
    shown[f"{name}: called asleep or offline in the end"] = at_most(with_it.misjudged, "nodes", 0)
    return shown


async def measure(names: list[str], watched_for: float, quick: bool) -> dict[str, Figure]:
    """Each trouble in turn."""
    shown: dict[str, Figure] = {}
    for name in names:
        case = CASES[name]
        if quick:
            case = replace(case, seconds=min(case.seconds, 10.0))
        with_it, bare = await measure_one(TROUBLES[name], case, watched_for)
        print(f"{name}: with {with_it}, bare {bare}", file=sys.stderr, flush=True)
        shown |= figures(name, case.seconds, with_it, bare)
    return shown


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this trouble; may be given several times")
    chosen = parser.parse_args()
    if missing := what_is_missing():
        sys.exit(missing)
    watched_for = SITE + 1 if chosen.quick else WATCHED_FOR
    names: list[str] = chosen.only or list(CASES)
    show("field", run(measure(names, watched_for, chosen.quick)), chosen.as_json)


if __name__ == "__main__":
    main()
