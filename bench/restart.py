"""How soon a restart is advised and carried out where nothing else helps: two devices that dialled each other in vain.

Two iroh-gossip nodes as apps have them, whose rejoin only subscribes again, on hosts of their own, each with a watcher,
an agent and a restart command. The link of the first goes down for more than a minute, and with it its way to the
service. Both have then dialled in vain, so no rejoin of either helps, nor a knock. The command asks a supervisor, as
``systemctl restart`` does, which kills the node and starts it again.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.report import Figure, at_most, rounds_on_hosts, run, show
from tests.kit.devices import Devices
from tests.kit.process import Line

CUT = 110.0
"""Seconds: the transport drops its peers after 30 to 56, dials them, and the dial fails after 30 more."""
SETTLED = 8.0
"""Seconds before the cut in which the service learns the rhythm of both."""
ADVISED = 15.0
"""Seconds from the path's return to the advice, at most."""
WATCHED_FOR = 60.0


class Times(NamedTuple):
    """Seconds after the link was brought up."""

    asked: float
    """The other device was asked to rejoin towards the one that was cut off, or that one towards the other."""
    advised: float
    ended: float
    """The restart command had ended, and its outcome was recorded."""
    healed: float
    """Both had heard each other."""


async def one_round(cut: float) -> Times:
    """Cut once; raises TimeoutError where something does not happen in time."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        async with Devices(Path(directory)) as devices:
            await asyncio.sleep(SETTLED)
            await devices.cut()
            await asyncio.sleep(cut)  # its length is part of the stimulus
            early = devices.service.all("restart advised")
            assert not early, f"advised during the cut: {early}"
            since = time.time()
            await devices.restore()
            wait = devices.service.wait_for
            asked = await wait("peer asked", WATCHED_FOR, after=since)
            advised = await wait("restart advised", WATCHED_FOR, after=since)
            ended = await wait("restart command ended", WATCHED_FOR, after=since)
            await devices.restart(str(ended["node"]))
            healed_at = await devices.until_all_heard(_at(ended), WATCHED_FOR)
            return Times(*(at - since for at in (_at(asked), _at(advised), _at(ended), healed_at)))


def _at(line: Line) -> float:
    return float(line["ts"])


async def measure(rounds: int, cut: float) -> dict[str, Figure]:
    """So many rounds side by side, since they mostly wait."""
    times = await asyncio.gather(*(one_round(cut) for _ in range(rounds)))
    print(*times, sep="\n", file=sys.stderr)
    shown = {"rounds": Figure(rounds, ""), "cut": Figure(cut, "s")}
    labels = ("another device is asked", "a restart is advised", "the command has ended", "both hear each other")
    for label, values in zip(labels, zip(*times, strict=True), strict=True):
        shown[f"path back, until {label}, median"] = Figure(statistics.median(values), "s")
        is_advice = label == labels[1]
        shown[f"path back, until {label}, maximum"] = (
            at_most(max(values), "s", ADVISED) if is_advice else Figure(max(values), "s")
        )
    return shown


def main() -> None:
    chosen = rounds_on_hosts(__doc__, 3)
    show("restart", run(measure(1 if chosen.quick else chosen.rounds, CUT)), chosen.as_json)


if __name__ == "__main__":
    main()
