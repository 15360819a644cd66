"""Three replicas on three members of etcd under triggers: the owner is killed or stopped, also with etcd's leader.

The clock runs from the signal to the first trigger that another replica acknowledges. Everything is on this machine:
three members of etcd, three replicas, the agents and the clients.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

from bench.report import Figure, arguments, at_most, run, show
from tests.kit.etcd import ETCD, Etcd, running_etcd
from tests.kit.replicas import Cluster, Fleet, cluster
from tests.kit.until import until

KINDS = ("owner killed", "owner and etcd's leader killed", "owner stopped")
NODES, CLIENTS = 20, 6
PAUSE = 0.02
"""Seconds between two triggers of a client: about 300 per second in all, where the machine is fast enough."""
BEFORE = 100
"""Triggers acknowledged before each signal."""
TARGET = 3.0
"""Seconds."""


class Rounds:
    """What is measured."""

    def __init__(self, etcd: Etcd, replicas: Cluster, fleet: Fleet) -> None:
        self.etcd = etcd
        self.replicas = replicas
        self.fleet = fleet
        self.took: dict[str, list[float]] = defaultdict(list)
        self.late = 0
        """Commands of an owner after another replica had acknowledged something."""

    async def one(self, kind: str) -> None:
        """Do it once, and repair everything."""
        await self.fleet.until_more(BEFORE)
        old = self.replicas.owner()
        process, others = self.replicas.replicas[old], [one for one in self.replicas.replicas if one != old]
        leader = self.etcd.leader() if "leader" in kind else None
        began_at = time.monotonic()
        if "stopped" in kind:
            process.freeze()
        else:
            await process.stop(signal.SIGKILL)
        if leader is not None:
            await self.etcd.kill(leader)
        asked = self.fleet.asked
        await until(lambda: asked.first_after(began_at, old) is not None, "another replica acknowledges", 120)
        first = asked.first_after(began_at, old)
        assert first is not None
        self.took[kind].append(first - began_at)
        print(f"{kind}: {first - began_at:.2f} s", file=sys.stderr, flush=True)
        if "stopped" in kind:
            process.thaw()
            await process.ended()
        if leader is not None:
            await self.etcd.start(leader)
            await self.etcd.until_ready()
        self.late += sum(1 for at, address, _, _ in self.fleet.commands if address == old and at > first)
        came_at = time.time()
        await process.start()
        await process.wait_for("standing by", 60, after=came_at)
        await self.replicas.until_owner(old)
        assert self.replicas.owner() in others


async def measure(directory: Path, rounds: int) -> dict[str, Figure]:
    """Take over so many times of each kind."""
    nodes = [f"n{number}" for number in range(NODES)]
    settings = {"deciding_window": "1", "deciding_verify_timeout": "1", "deciding_request_memory": "86400"}
    async with (
        running_etcd(directory, 3, "--heartbeat-interval", "50", "--election-timeout", "500") as etcd,
        cluster(directory, etcd.endpoints, 3, **settings) as replicas,
        Fleet(list(replicas.replicas), nodes, CLIENTS, PAUSE) as fleet,
    ):
        measured = Rounds(etcd, replicas, fleet)
        for _ in range(rounds):
            for kind in KINDS:
                await measured.one(kind)
        await fleet.until_more(BEFORE)
        lost = await fleet.lost()
        shown: dict[str, Figure] = {}
        for kind in KINDS:
            shown[f"{kind}, median"] = Figure(median(measured.took[kind]), "s")
            shown[f"{kind}, longest of {rounds}"] = at_most(max(measured.took[kind]), "s", TARGET)
        twice = sum(count - 1 for count in Counter(one[1:] for one in fleet.commands).values())
        again = len(fleet.commands) - twice - len({one[2:] for one in fleet.commands})
        return {
            **shown,
            "triggers acknowledged": Figure(len(fleet.asked.answers), "triggers"),
            "of these lost": at_most(len(lost), "triggers", 0),
            "commands carried out": Figure(len(fleet.commands), "commands"),
            "of a replaced owner": at_most(measured.late, "commands", 0),
            "sent again by a new owner": Figure(again, "commands"),
            "attempts commanded twice by one owner": at_most(twice, "commands", 0),
        }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="takeovers of each kind (20)")
    flags = parser.parse_args()
    if ETCD is None:
        sys.exit("needs etcd: apt-get install etcd-server")
    directory = Path(tempfile.mkdtemp())
    try:
        shown = run(measure(directory, 2 if flags.quick else flags.rounds))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show("takeover", shown, flags.as_json)


if __name__ == "__main__":
    main()
