"""While the service hears few of those that report, silence proves nothing: nobody becomes offline.

All of 20,000 healthy nodes were called offline at once on a service that served some of their reports and not others:
see `bench/recover`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from gossipcontrol.server.core.event import LivenessReported, NodesSlept, TimePassed
from gossipcontrol.server.core.finding import OverloadChanged
from gossipcontrol.server.core.presence.overload import KNOWN_FOR, MAX_KNOWN, MIN_REPORTERS, Overload
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.liveness_lab import Lab

ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE
INTERVAL = 10.0
REACH = 3
"""Neighbours on each side of a node in the ring."""
SETTLE = 60.0
"""Ceiling and ``offline_after``: the longest usual time from a death to OFFLINE."""
USUAL = SETTLE + INTERVAL
"""The same as seen here: looks are an interval apart."""
Serves = Callable[[int, int], bool]
"""Whether the report of a node is taken in a round."""


class Fleet:
    """Nodes of a ring that report each other every ten seconds, and a service that may take a part of the reports."""

    def __init__(self, count: int) -> None:
        self.lab = Lab(LivenessParameters(report_rate=count / INTERVAL))
        self.count, self.rounds = count, 0
        self.names = [f"n{number}" for number in range(count)]
        self.dead = set[int]()
        self.most = dict.fromkeys(PeerState, 0)
        """State -> the highest number of peers seen in it."""
        self.run(3)

    def run(self, rounds: int, serves: Serves = lambda node, turn: True) -> None:
        """Let so many intervals pass, in which every node that lives reports once."""
        for _ in range(rounds):
            self.rounds += 1
            for node in range(self.count):
                self.lab.now += INTERVAL / self.count
                if node not in self.dead and serves(node, self.rounds):
                    self._report(node)
                if node % (self.count // 20) == 0:
                    self.lab.advance(0.0)
                    self._look()

    def _report(self, node: int) -> None:
        near = [(node + step) % self.count for step in range(-REACH, REACH + 1) if step]
        self.lab.report(self.names[node], {self.names[one]: 0.3 for one in near if one not in self.dead})

    def _look(self) -> None:
        for state, count in self.lab.liveness.counts().peers.items():
            self.most[state] = max(self.most[state], count)

    def offline_after(self, most: float) -> float | None:
        """After how many seconds from now the first node is OFFLINE; None when it is not within so many."""
        began = self.lab.now
        while self.lab.now < began + most:
            self.run(1)
            if self.lab.state(self.names[0]) is OFFLINE:
                return self.lab.now - began
        return None


def look_again(lab: Lab, node_id: str) -> None:
    """Have the presence of a node looked at, as when it is found to be heard again."""
    for mute in (True, False):
        lab.liveness.presence.set_mute("a", node_id, mute, lab.now)


def fixed(node: int, turn: int) -> bool:
    """Always the same tenth."""
    del turn
    return node % 10 == 5


def in_turn(node: int, turn: int) -> bool:
    """Another tenth in each round."""
    return node % 10 == turn % 10


def by_chance(node: int, turn: int) -> bool:
    """Any tenth."""
    return random.Random(node * 1009 + turn).random() < 0.1


@pytest.mark.parametrize(
    ("count", "rounds", "serves"), [(2000, 7, fixed), (100, 50, fixed), (100, 50, in_turn), (100, 50, by_chance)]
)
def test_nobody_is_offline_because_few_reports_are_taken(count: int, rounds: int, serves: Serves) -> None:
    fleet = Fleet(count)
    fleet.run(rounds, serves)
    assert fleet.lab.liveness.overloaded_since() is not None
    assert fleet.most[SUSPECT] > 0
    fleet.dead.add(0)
    after = fleet.offline_after(2 * SETTLE)
    assert after is not None, "after the overload a dead node is offline in time"
    assert after <= USUAL + INTERVAL, "until it hears again"
    assert fleet.most[OFFLINE] == 1
    assert fleet.lab.liveness.counts().peers[ONLINE] == count - 1
    assert fleet.lab.liveness.overloaded_since() is None


@pytest.mark.parametrize("share", [3, 4])
def test_a_slow_service_that_hears_everybody_in_turn_calls_nobody_offline(share: int) -> None:
    fleet = Fleet(100)
    fleet.run(30, lambda node, turn: node % share == turn % share)
    fleet.run(8)
    assert fleet.most[OFFLINE] == 0


def test_one_death_in_a_healthy_fleet_is_offline_as_ever() -> None:
    """Also when a part of the fleet, but not half of it, died before."""
    fleet = Fleet(100)
    fleet.dead.add(0)
    after = fleet.offline_after(2 * SETTLE)
    assert after is not None
    assert after <= USUAL
    fleet.dead |= set(range(1, 40))
    fleet.run(int(SETTLE / INTERVAL) + 1)
    assert fleet.lab.liveness.counts().peers[OFFLINE] == 40
    assert fleet.lab.liveness.overloaded_since() is None


def test_most_of_a_fleet_that_died_is_offline_once_it_is_not_expected_any_more() -> None:
    fleet = Fleet(100)
    fleet.dead |= set(range(60))
    fleet.run(int(KNOWN_FOR / INTERVAL))
    assert fleet.most[OFFLINE] == 0
    fleet.run(int(SETTLE / INTERVAL) + 3)
    assert fleet.lab.liveness.counts().peers[OFFLINE] == 60


def test_most_of_a_few_nodes_that_died_are_offline_as_ever() -> None:
    fleet = Fleet(MIN_REPORTERS - 1)
    fleet.dead |= set(range(1, fleet.count))
    fleet.run(int(SETTLE / INTERVAL) + 1)
    assert fleet.lab.liveness.counts().peers[OFFLINE] == fleet.count - 1


def test_who_announced_to_sleep_is_not_expected() -> None:
    fleet = Fleet(200)
    asleep = range(100, 200)
    fleet.lab.handle(NodesSlept(tuple(fleet.names[node] for node in asleep)))
    fleet.dead |= {0, *asleep}
    after = fleet.offline_after(2 * SETTLE)
    assert after is not None
    assert after <= USUAL


def test_who_was_offline_before_stays_so() -> None:
    fleet = Fleet(100)
    fleet.dead.add(0)
    fleet.offline_after(2 * SETTLE)
    for _ in range(10):
        fleet.run(1, fixed)
        assert fleet.lab.state(fleet.names[0]) is OFFLINE
        look_again(fleet.lab, fleet.names[0])
        assert fleet.lab.state(fleet.names[0]) is OFFLINE
    assert fleet.most[OFFLINE] == 1


def test_a_second_overload_soon_after_the_first_makes_nobody_online_offline() -> None:
    """Who is suspected in the first has not been heard when the second begins."""
    fleet = Fleet(100)
    for _ in range(6):
        fleet.run(6, fixed)
        fleet.run(1, lambda node, turn: node % 10 >= 4)
    assert fleet.most[OFFLINE] == 0


def test_an_overloaded_service_forgets_peers_by_their_age() -> None:
    fleet = Fleet(100)
    fleet.lab = Lab(LivenessParameters(report_rate=10.0, peer_age=300.0))
    fleet.run(3)
    fleet.run(45, lambda node, turn: node in range(5, 100, 10) and bool(turn))
    assert fleet.lab.liveness.peer_total < 100
    assert fleet.most[OFFLINE] == 0


@pytest.mark.parametrize("longest", [15.0, 60.0])
def test_a_fleet_that_follows_a_changing_interval_is_no_overload(longest: float) -> None:
    """The interval that is asked for grows and shrinks; those asked before still follow the older one."""
    overload, now = Overload(33.0, SETTLE), 0.0
    due = {f"n{number}": number * 0.02 for number in range(100)}
    while now < 350.0:
        node_id = min(due, key=due.__getitem__)
        now = due[node_id]
        interval = 2.0 if now < 50.0 or now > 250.0 else longest
        overload.record_report(node_id, interval, now)
        due[node_id] = now + interval
        assert overload.since() is None


def test_that_reports_end_is_seen_without_a_further_report() -> None:
    overload = Overload(33.0, SETTLE)
    for number in range(100):
        overload.record_report(f"n{number}", 2.0, 0.0)
    assert overload.offline_at(15.0, 15.0) == 15.0
    assert overload.offline_at(40.0, 40.0) == 40.0 + SETTLE


def test_nobody_is_offline_while_the_service_is_behind() -> None:
    """For an interval after the last sign of it: what waited is heard by then."""
    lab = Lab()
    others: dict[str, float | None] = {f"p{number}": number * 0.06 for number in range(50)}

    for _ in range(20):
        lab.report("n", others | {"p": 0.1})
        lab.advance(2.0)
    silent_at = lab.now
    while lab.state() is not OFFLINE:
        assert lab.now < silent_at + 150.0, "once it keeps up, the dead one is offline"
        if lab.now < silent_at + 80.0:
            lab.now += 1.0  # deadlines come more often than that, and are served as much later
            lab.handle(TimePassed())
        else:
            lab.advance(1.0)
        lab.report("n", others | {"p": lab.now - silent_at})
    assert silent_at + 80.0 < lab.now <= silent_at + 85.0


@pytest.mark.parametrize(("waiting", "is_held_back"), [(11, True), (10, False)])
def test_nobody_is_offline_while_many_reports_waited_for_longer_than_an_interval(
    waiting: int, *, is_held_back: bool
) -> None:
    """As a tenth of the nodes say; what a few say holds back nothing."""
    lab, nodes = Lab(), [f"n{number}" for number in range(100)]
    dead, usual = "dead", 0.0
    lab.report(dead)
    died_at = lab.now
    for turn in range(60):
        for place, node_id in enumerate(nodes):
            delay = 3.0 if place < waiting else math.inf if place == waiting else 0.0
            at = {} if place else dict.fromkeys(nodes, lab.now - 0.1)
            lab.handle(LivenessReported(node_id, "a", at, delay=delay if turn < 50 else 0.0))
        lab.advance(2.0)
        if lab.state(dead) is OFFLINE:
            usual = lab.now - died_at
            break
    assert usual > 0, "once nothing waits, the dead one is offline"
    assert (usual > 100.0) == is_held_back


def test_what_is_remembered_is_bounded() -> None:
    overload = Overload(33.0, SETTLE)
    for number in range(MAX_KNOWN + 100):
        overload.record_report(f"n{number}", 2.0, number * 1e-5)
        overload.record_wait(f"n{number}", number * 1e-5)
    assert len(overload._heard) == MAX_KNOWN  # pyright: ignore[reportPrivateUsage]
    assert len(overload._waited) == MAX_KNOWN  # pyright: ignore[reportPrivateUsage]


def overload(lab: Lab) -> list[bool]:
    """Whether the service heard too few, change by change."""
    return [one.since is not None for one in lab.findings if isinstance(one, OverloadChanged)]


def test_an_overload_is_told_when_it_begins_and_when_it_ends() -> None:
    fleet = Fleet(100)
    fleet.run(7, fixed)
    assert overload(fleet.lab) == [True]
    fleet.run(2)
    assert overload(fleet.lab) == [True, False]


def test_a_service_that_is_deaf_does_not_say_that_it_hears_few() -> None:
    fleet = Fleet(100)
    fleet.lab.advance(300.0)
    assert fleet.lab.liveness.deaf_since() is not None
    assert fleet.lab.liveness.overloaded_since() is None
    assert overload(fleet.lab)[-1:] in ([], [False])


def test_the_longest_interval_counts_no_longer_than_a_node_may_follow_it() -> None:
    overload, nodes = Overload(2.0, SETTLE), [f"n{number}" for number in range(2 * MIN_REPORTERS)]
    for now in range(40):
        for node in nodes:
            overload.record_report(node, 10.0 if now == 0 else 2.0, float(now))
    for now in range(40, 44):
        for node in nodes[: MIN_REPORTERS - 1]:
            overload.record_report(node, 2.0, float(now))
    assert overload.since() == 39.0 + 1.5 * 2.0
