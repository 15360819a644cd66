"""How long Serf's members take to be alive again after a cut, with and without GossipControl.

Clusters of two and of three agents of the Debian package, with the default configuration, on hosts of their own. The
first host is cut off until it failed and 15 s longer, by its link or by its cable, and restored; the time ends when it
and the last member list all as alive. In one run some clusters have a service, a watcher and our agent on the first
host.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import Figure, at_most, rounds_on_hosts, run, show
from tests.kit.serf_cluster import SerfCluster, what_serf_needs

HELD = 15.0
"""Seconds for which the cut goes on once the member failed: before that, members still spread that it did, it learns so
when its path is back, and refutes it at once.
"""
WATCHED_FOR = 90.0
"""Seconds for which Serf may recover by itself: it dials one failed member every 30."""
TARGET = 1.0
"""Seconds, with GossipControl."""
CUTS = ("link", "cable")


async def one_round(hosts: int, cut: str, *, control: bool) -> float | None:
    """Seconds from the return of the path until all are alive; None: not while it was watched."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        async with SerfCluster(Path(directory), hosts=hosts, control=control) as cluster:
            await (cluster.host.link_down() if cut == "link" else cluster.host.unplug())
            await cluster.last.wait_for_text(f"EventMemberFailed: {cluster.host.namespace}", WATCHED_FOR)
            await asyncio.sleep(HELD)  # the length is part of the stimulus
            since = time.monotonic()
            await (cluster.host.link_up() if cut == "link" else cluster.host.plug())
            try:
                await cluster.wait_until_alive(WATCHED_FOR)
            except AssertionError:
                return None
            return time.monotonic() - since


async def measure(rounds: int) -> dict[str, list[float | None]]:
    """The times of each kind of cluster and cut."""
    found: dict[str, list[float | None]] = {}
    kinds = [(hosts, cut, control) for hosts in (2, 3) for cut in CUTS for control in (True, False)]
    for number in range(rounds):
        # Side by side, since they mostly wait.
        times = await asyncio.gather(*(one_round(hosts, cut, control=control) for hosts, cut, control in kinds))
        for (hosts, cut, control), seconds in zip(kinds, times, strict=True):
            label = f"{hosts} members, {cut} cut, {'with' if control else 'without'}"
            found.setdefault(label, []).append(seconds)
        print(f"{number + 1} of {rounds} rounds", file=sys.stderr)
    return found


def figures(found: dict[str, list[float | None]]) -> dict[str, Figure]:
    """Medians and maxima in seconds."""
    shown: dict[str, Figure] = {}
    for label, times in found.items():
        median, most = _median(times), None if None in times else max(one for one in times if one is not None)
        if label.endswith("without"):
            shown[f"{label}, median"] = Figure(median, "s")
            shown[f"{label}, maximum"] = Figure(most, "s")
        else:
            shown[f"{label}, median"] = at_most(median, "s", TARGET)
            shown[f"{label}, maximum"] = at_most(most, "s", TARGET)
    return shown


def _median(times: Sequence[float | None]) -> float | None:
    known = [one for one in times if one is not None]
    return statistics.median(known) if len(known) == len(times) else None


def main() -> None:
    chosen = rounds_on_hosts(__doc__, 5)
    if missing := what_serf_needs():
        sys.exit(missing)
    show("serf", figures(run(measure(1 if chosen.quick else chosen.rounds))), chosen.as_json)


if __name__ == "__main__":
    main()
