"""A rolling upgrade of three replicas under triggers, to a version that decides otherwise: standbys, then the owner.

The other version has half the window, patched in at its start. Its standbys must find that they decide otherwise, and
the one that takes over must have everything that was acknowledged.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Figure, arguments, at_most, run, show
from tests.kit.etcd import ETCD, running_etcd
from tests.kit.process import Process
from tests.kit.replicas import Cluster, Fleet, cluster
from tests.kit.until import until

SETTINGS = {"deciding_window": "0.4", "deciding_verify_timeout": "0.1"}
NODES, CLIENTS, PAUSE = 3, 3, 0.05
BETWEEN = 30
"""Triggers that are acknowledged between two steps."""
OTHER_RULE = """\
import dataclasses
from gossipcontrol.server.core.deciding.scheduler import Scheduler
made = Scheduler.__init__
def make(self, *given, **named):
    made(self, *given, **named)
    self._parameters = dataclasses.replace(self._parameters, window=self._parameters.window / 2)
Scheduler.__init__ = make
"""
"""What Python runs at the start of the other version."""


async def upgrade(one: Process, place: Path) -> None:
    """Restart a standby as the other version, and wait until it stands by again."""
    await one.stop(signal.SIGTERM)
    before = len(one.all("standing by"))
    await one.start(PYTHONPATH=os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH")))))
    await until(lambda: len(one.all("standing by")) > before, "it stands by again", 60)


async def hand_over(replicas: Cluster, fleet: Fleet, first: str) -> float:
    """Stop the owner; seconds until another one acknowledged a trigger."""
    began_at = time.monotonic()
    await replicas.replicas[first].stop(signal.SIGTERM)
    await until(lambda: fleet.asked.first_after(began_at, first) is not None, "another replica acknowledges", 60)
    return (fleet.asked.first_after(began_at, first) or 0.0) - began_at


async def measure(directory: Path) -> dict[str, Figure]:
    place = directory / "other"
    place.mkdir()
    (place / "sitecustomize.py").write_text(OTHER_RULE, encoding="utf-8")
    async with (
        running_etcd(directory) as etcd,
        cluster(directory, etcd.endpoints, 3, **SETTINGS) as replicas,
        Fleet(list(replicas.replicas), [f"n{number}" for number in range(NODES)], CLIENTS, PAUSE) as fleet,
    ):
        first = replicas.owner()
        others = [one for address, one in replicas.replicas.items() if address != first]
        await fleet.until_more(BETWEEN)
        for one in others:
            await upgrade(one, place)
            await one.wait_for("replay diverged", 60)
            await fleet.until_more(BETWEEN)
        took = await hand_over(replicas, fleet, first)
        await fleet.until_more(BETWEEN)
        lost = await fleet.lost()
        twice = fleet.repeated()
        return {
            "upgraded standbys that found the other rule": Figure(len(others), "standbys"),
            "from SIGTERM of the owner to the next acknowledgement": at_most(took, "s", 3.0),
            "triggers acknowledged": Figure(len(fleet.asked.answers), "triggers"),
            "of these lost": at_most(len(lost), "triggers", 0),
            "attempts commanded twice by one owner": at_most(twice, "commands", 0),
        }


def main() -> None:
    flags = arguments(__doc__).parse_args()
    if ETCD is None:
        sys.exit("needs etcd: apt-get install etcd-server")
    directory = Path(tempfile.mkdtemp())
    try:
        shown = run(measure(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show("upgrade", shown, flags.as_json)


if __name__ == "__main__":
    main()
