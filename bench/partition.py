"""How long two sides of an overlay stay separate after the path between them is back, with and without GossipControl.

The cable between two bridges is cut for two minutes and put back, so no host has a link event. In the runs "with",
every node is attached to one service over a Unix socket. The overlay is one component again when the graph of the links
that both ends report is connected.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.report import Figure, at_most, rounds_on_hosts, show
from tests.kit.fleet import Fleet

SHAPES = ((5, 5), (2, 2), (1, 3))
CUT = 120.0
SETTLED = 10.0
"""Seconds before the cut in which the overlay shuffles."""
WATCHED_FOR = 180.0
"""Seconds for which an overlay without GossipControl may heal by itself."""
DIALS = 0.5
"""Dials per component and second during the cut, at most."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut and what came after it."""

    parted: bool
    """Whether the sides were separate when the path came back; otherwise there was nothing to heal."""
    healed: float | None
    """Seconds from the path's return to one component."""
    dials: float
    """Dials asked for by the service in the second half of the cut, per component and second."""


async def cut_once(near: int, beyond: int, *, control: bool, cut: float, watched_for: float) -> Cut:
    """Start a fleet, cut the cable, put it back, and watch."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        async with Fleet(Path(directory), near=near, beyond=beyond, control=control) as fleet:
            await asyncio.sleep(SETTLED)  # the age of the overlay is a condition of the measurement
            cut_at, healed_at, parts = await fleet.cut_for(cut)
            try:
                healed = await fleet.until_components(1, watched_for) - healed_at
            except TimeoutError:
                healed = None
            # Only the second half: a side that was connected through the other one may fall apart too at first.
            dials = len(fleet.lines("sync", cut_at + cut / 2, healed_at))
            return Cut(parts > 1, healed, dials / (cut / 2) / max(1, parts))


async def measure(rounds: int, cut: float, watched_for: float) -> dict[str, Figure]:
    """Measure every shape, with and without side by side, since both mostly wait."""
    figures: dict[str, Figure] = {"rounds": Figure(rounds, "of each kind"), "cut": Figure(cut, "s")}
    for near, beyond in SHAPES:
        runs = [
            await asyncio.gather(
                *(
                    cut_once(near, beyond, control=control, cut=cut, watched_for=watched_for)
                    for control in (True, False)
                )
            )
            for _ in range(rounds)
        ]
        with_it, without = ([pair[number] for pair in runs] for number in (0, 1))
        name = f"{near} + {beyond}"
        healed = [one.healed for one in with_it]
        figures[f"{name} with: path back to one component, maximum"] = at_most(_of(max, healed), "s", 3)
        figures[f"{name} with: path back to one component, median"] = Figure(_of(statistics.median, healed), "s")
        figures[f"{name} with: dials per component and second"] = at_most(
            max(one.dials for one in with_it), "1/s", DIALS * 1.1
        )
        figures[f"{name} without: one component again"] = Figure(
            sum(one.healed is not None for one in without), f"of {rounds} within {watched_for:g} s"
        )
        figures[f"{name} without: median"] = Figure(_of(statistics.median, [one.healed for one in without]), "s")
        figures[f"{name}: parted when the path came back"] = Figure(
            sum(one.parted for one in (*with_it, *without)), f"of {2 * rounds}"
        )
        print(f"{name}: {with_it} {without}", file=sys.stderr)
    return figures


def _of(choose: Callable[[list[float]], float], times: list[float | None]) -> float | None:
    """None when one of them never happened, which is worse than any number."""
    known = [one for one in times if one is not None]
    return choose(known) if known and len(known) == len(times) else None


def main() -> None:
    chosen = rounds_on_hosts(__doc__, 3)
    rounds, cut, watched_for = (1, 70.0, 30.0) if chosen.quick else (chosen.rounds, CUT, WATCHED_FOR)
    show("partition", asyncio.run(measure(rounds, cut, watched_for)), chosen.as_json)


if __name__ == "__main__":
    main()
