"""Diagnosis over swarms with known truth: it finds what is wrong, and only that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import pytest
from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.event import (
    LivenessReported,
    NodeAttached,
    NodeDetached,
    NodesSlept,
    SuspicionEnded,
    TimePassed,
)
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.report_swarm import PHASES, STORE, FakePresence, Swarm, accused, diagnosis, make, names, settled
from tests.kit.roster import LoneDiagnosis

ROTS = (Cause.OUTBOUND_ROT, Cause.INBOUND_ROT)
SEEDS = range(4)


# Healthy overlays.

Happening = tuple[str, float, int, int]
"""What happens, after how many seconds, and two numbers that vary it."""
happenings = st.lists(
    st.tuples(
        st.sampled_from(("join", "leave", "vanish", "talk", "meet", "cut")),
        st.floats(1.0, 40.0),
        st.integers(0, 100),
        st.integers(0, 100),
    ),
    max_size=10,
)
RHYTHMS = (0.0, 0.0, 0.3, 2.0, 2.0, 7.0, 25.0, 50.0)
INTERVALS = (1.0, 2.0, 2.0, 5.0, 12.0)


def join(swarm: Swarm, one: int, other: int) -> None:
    swarm.grow(1, rhythm=RHYTHMS[one % 8], interval=INTERVALS[other % 5], reports=one % 7 > 0, capable=other % 3 > 0)


def happen(swarm: Swarm, what: str, one: int, other: int) -> None:
    alive = [member for member in swarm.members.values() if member.alive]
    node, peer = alive[one % len(alive)], alive[other % len(alive)]
    match what:
        case "join":
            join(swarm, one, other)
        case "leave" | "vanish" if len(alive) > 2:
            swarm.leave(node.node_id, says_so=what == "leave")
        case "talk":
            for _ in range(other % 30):
                swarm.broadcast(node.node_id)
        case "meet":
            swarm.link(node, peer)
        case "cut":
            side = {member.node_id for member in alive[: 1 + one % len(alive)]}
            one_way = other % 3
            swarm.blocked = lambda sender, receiver, large: (
                (sender in side) != (receiver in side) and not (one_way == 1 and sender in side)
            )
            swarm.run(0.5 + other / 20)
            swarm.mend(late=True)
        case _:
            pass


@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.sampled_from((0.05, 0.3, 0.8)),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=12),
    happenings,
)
@example(
    # Two nodes heard bursts of the third before it counted them itself.
    seed=663,
    view=2,
    latency=0.3,
    nodes=[(39, 6), (22, 75), (64, 100)],
    story=[("meet", 34.8, 32, 65), ("talk", 17.3, 58, 68), ("talk", 17.8, 72, 50), ("talk", 30.0, 88, 21)],
)
@settings(max_examples=60, deadline=None, phases=PHASES)
def test_a_healthy_overlay_never_causes_a_trigger(
    seed: int, view: int, latency: float, nodes: Sequence[tuple[int, int]], story: Sequence[Happening]
) -> None:
    swarm = make(seed, view, latency)
    for one, other in nodes:
        join(swarm, one, other)
    for what, wait, one, other in story:
        swarm.run(wait)
        happen(swarm, what, one, other)
    swarm.run(60)
    assert swarm.components() == 1
    assert swarm.suspected() == []
    assert not swarm.presence.mute


@given(st.integers(0, 1000), st.integers(2, 10))
@settings(max_examples=10, deadline=None, phases=PHASES)
def test_a_complete_but_silent_overlay_never_causes_a_trigger(seed: int, count: int) -> None:
    swarm = make(seed, view=20)
    swarm.grow(count, rhythm=0.0)
    swarm.complete()
    swarm.run(200)
    assert swarm.suspected() == []


def test_a_node_that_lost_messages_and_fell_silent_does_not_stay_mute() -> None:
    swarm = make(5)
    swarm.grow(3, rhythm=0.0)
    swarm.complete()
    swarm.run(20)
    swarm.lose("n0", 10)
    swarm.run(10)
    assert swarm.presence.mute == {"n0"}
    swarm.mend()
    swarm.run(60)
    assert not swarm.presence.mute


def test_rare_or_late_reports_are_no_sign_of_rot() -> None:
    swarm = make(3, latency=1.5)
    swarm.grow(3, rhythm=0.5, interval=30.0)
    swarm.grow(3, rhythm=0.5, interval=2.0)
    swarm.run(400)
    assert swarm.suspected() == []


def test_a_frozen_node_has_no_rot_from_what_it_missed() -> None:
    swarm = settled(4, 5)
    frozen = swarm.members["n0"]
    reports, frozen.interval = frozen.interval, 40.0
    swarm.run(2)
    swarm.blocked = lambda sender, receiver, large: "n0" in (sender, receiver)
    frozen.rhythm, rhythm = 1000.0, frozen.rhythm
    swarm.run(39)
    swarm.mend()
    frozen.interval, frozen.rhythm = reports, rhythm
    swarm.run(100)
    assert swarm.suspected(*ROTS) == []


# Rot.


@pytest.mark.parametrize("seed", SEEDS)
def test_unheard_broadcasts_are_found_within_the_window_and_cleared_once_mended(seed: int) -> None:
    swarm = settled(seed, 6)
    swarm.blocked = lambda sender, receiver, large: sender == "n0"
    cut_at = swarm.now
    swarm.run(60)
    suspected = swarm.suspected()
    assert set(accused(suspected)) == {("n0", Cause.OUTBOUND_ROT)}
    assert 10 <= suspected[0][0] - cut_at <= 20
    assert suspected[0][1].evidence.startswith("nobody who could tell has heard its broadcasts for ")
    assert swarm.presence.mute == {"n0"}
    swarm.mend()
    swarm.run(70)
    assert not swarm.presence.mute
    assert accused(swarm.cleared()) == [("n0", Cause.OUTBOUND_ROT)]
    mended_at = swarm.now
    swarm.run(100)
    assert [one for at, one in swarm.suspected() if at >= mended_at] == []


def speak_into_a_black_hole(swarm: Swarm, node_id: str) -> None:
    """Broadcast a large message every 3 s for a minute; the node is found within 45 s, and no other."""
    began_at = swarm.now
    for _ in range(20):
        swarm.run(3)
        swarm.broadcast(node_id, large=True)
    suspected = swarm.suspected()
    assert set(accused(suspected)) == {(node_id, Cause.OUTBOUND_ROT)}
    assert suspected[0][0] - began_at <= 45


@pytest.mark.parametrize("seed", SEEDS)
def test_a_black_hole_for_large_messages_is_found_though_small_ones_arrive(seed: int) -> None:
    swarm = settled(seed, 6)
    swarm.blocked = lambda sender, receiver, large: sender == "n0" and large
    speak_into_a_black_hole(swarm, "n0")
    assert "reached none of" in swarm.suspected()[0][1].evidence
    assert not swarm.presence.mute  # small messages still show life


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_never_heard_behind_a_black_hole_is_found(seed: int) -> None:
    swarm = make(seed)
    swarm.grow(5)
    swarm.blocked = lambda sender, receiver, large: sender == "n5" and large
    swarm.grow(1, rhythm=0.0)
    swarm.complete()
    speak_into_a_black_hole(swarm, "n5")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_does_not_hear_what_others_hear_is_found(seed: int) -> None:
    swarm = settled(seed, 6)
    swarm.blocked = lambda sender, receiver, large: receiver == "n0"
    cut_at = swarm.now
    swarm.run(60)
    suspected = swarm.suspected()
    assert set(accused(suspected)) == {("n0", Cause.INBOUND_ROT)}
    assert suspected[0][0] - cut_at <= 35
    swarm.mend()
    swarm.run(100)
    assert accused(swarm.cleared()) == [("n0", Cause.INBOUND_ROT)]


def test_of_two_nodes_the_unheard_one_has_the_rot() -> None:
    swarm = make()
    swarm.grow(2)
    swarm.run(70)
    swarm.blocked = lambda sender, receiver, large: sender == "n0"
    swarm.run(40)
    assert set(accused(swarm.suspected())) == {("n0", Cause.OUTBOUND_ROT)}


# Isolation and stuck writes.


def test_a_node_without_neighbours_in_a_store_with_others_is_isolated() -> None:
    swarm = make()
    swarm.heals = False
    swarm.grow(4, capable=False)
    swarm.run(30)
    lone = swarm.members["n0"]
    for peer_id in list(lone.view):
        swarm._set(lone, swarm.members[peer_id], up=False)  # pyright: ignore[reportPrivateUsage]
    swarm.repair_without("n0")
    neighbor_lost_at = swarm.now
    swarm.run(9)
    (at, found), *_ = swarm.suspected(Cause.ISOLATED)
    assert (found.node_id, found.evidence) == ("n0", "no neighbours")
    assert 3 <= at - neighbor_lost_at <= 7


def test_a_node_that_is_alone_in_its_store_is_not_isolated() -> None:
    swarm = make()
    swarm.grow(1)
    swarm.run(60)
    assert swarm.findings == []


def test_unsynced_writes_cause_suspicion_only_after_a_continuous_while_with_no_peer_heard() -> None:
    swarm = make()
    lone = swarm.add("n0", rhythm=0.0)
    lone.unsynced = 3
    swarm.run(20)
    lone.unsynced = 0
    swarm.run(5)
    lone.unsynced = 2
    since = swarm.now
    swarm.run(60)
    first, second, *_ = swarm.suspected(Cause.SUSPICION)
    assert 30 <= first[0] - since <= 35
    assert first[1].evidence.startswith("2 local writes unsynced for 3")
    assert second[0] - first[0] >= 6
    swarm.add("n1")
    swarm.link(lone, swarm.members["n1"])
    swarm.run(10)
    assert [one.cause for _, one in swarm.cleared()] == [Cause.SUSPICION]


# Pairs.


@given(st.integers(0, 10**6), st.integers(2, 14))
@settings(max_examples=10, deadline=None, phases=PHASES)
def test_every_pair_meets_within_the_interval_as_long_as_the_budget_allows(seed: int, count: int) -> None:
    swarm = make(seed, pair_interval=60.0)
    swarm.grow(count)
    met: dict[frozenset[str], float] = {}
    longest, ready_at = 0.0, swarm.now
    for _ in range(200):
        swarm.run(1)
        for member in swarm.members.values():
            for peer_id in member.view:
                met[frozenset((member.node_id, peer_id))] = swarm.now
        for at, wanted in swarm.wanted():
            met[frozenset((wanted.node_id, wanted.peer_id))] = max(
                at, met.get(frozenset((wanted.node_id, wanted.peer_id)), at)
            )
        swarm.findings.clear()
        pairs = [frozenset((f"n{a}", f"n{b}")) for a in range(count) for b in range(a)]
        longest = max(longest, *(swarm.now - met.get(pair, ready_at) for pair in pairs))
    assert longest <= 60.0 + 5.0


def test_ten_nodes_sync_the_pairs_that_never_become_neighbours() -> None:
    swarm = make(1)
    swarm.grow(10)
    swarm.run(6)
    unsynced = diagnosis(swarm).pairs_unsynced
    neighbors = {frozenset((one.node_id, peer)) for one in swarm.members.values() for peer in one.view}
    assert 0 < unsynced <= 45 - len(neighbors)
    assert diagnosis(swarm).store_counts(STORE) == (unsynced, 0)
    swarm.run(60)
    assert diagnosis(swarm).pairs_unsynced == 0
    named = {frozenset((wanted.node_id, wanted.peer_id)) for _, wanted in swarm.wanted()}
    everybody = {frozenset((f"n{a}", f"n{b}")) for a in range(10) for b in range(a)}
    assert everybody - neighbors <= named


@pytest.mark.parametrize(("said", "asked"), [("neighbour", False), ("direct", False), ("forwarded", True)])
def test_neighbours_and_those_that_heard_each_other_directly_sync_by_themselves(said: str, asked: bool) -> None:
    presence = FakePresence()
    presence.states = dict.fromkeys("ab", PeerState.ONLINE)
    core = LoneDiagnosis(LivenessParameters(), presence)
    capable = frozenset({Capability.SYNC_WITH_PEER})
    found = [
        one for node_id in "ab" for one in core.handle(NodeAttached(node_id, "s", (STORE,), capabilities=capable), 0.0)
    ]
    for second in range(0, 30, 2):
        now = float(second)
        heard, direct = {"b": now}, ["b"] if said == "direct" else []
        neighbors = {"b": 0.0} if said == "neighbour" else {}
        found += core.handle(LivenessReported("a", STORE, heard, neighbors, direct=direct), now)
        found += core.handle(LivenessReported("b", STORE, {"a": now}), now)
    assert any(isinstance(one, SyncWanted) for one in found) == asked


def test_no_node_is_asked_for_more_syncs_than_its_budget() -> None:
    swarm = make(2, sync_rate=0.2)
    swarm.grow(12)
    swarm.run(200)
    asked: defaultdict[str, list[float]] = defaultdict(list)
    for at, wanted in swarm.wanted():
        asked[wanted.node_id].append(at)
    for times in asked.values():
        assert all(later - at >= 5.0 - 1e-6 for at, later in pairwise(times))


def test_nodes_that_cannot_sync_are_never_asked() -> None:
    swarm = make()
    swarm.grow(5)
    swarm.grow(5, capable=False)
    swarm.run(200)
    assert {wanted.node_id for _, wanted in swarm.wanted()} <= set(names(5))


# Events.


def report(node_id: str, store_id: str = STORE, **said: int) -> LivenessReported:
    return LivenessReported(node_id, store_id, broadcast_count=said.get("broadcasts", 0))


def test_a_store_without_nodes_is_forgotten() -> None:
    presence = FakePresence()
    core = LoneDiagnosis(LivenessParameters(), presence)
    core.handle(report("n"), 10.0)
    assert core.next_deadline() is not None
    now = 10.0
    while (deadline := core.next_deadline()) is not None:
        now = deadline
        core.handle(TimePassed(), now)
    assert now < 300.0
    assert core.store_counts(STORE) == (0, 0)


def test_a_replaced_session_does_not_detach_its_node() -> None:
    core = LoneDiagnosis(LivenessParameters(), FakePresence())
    capable = frozenset({Capability.SYNC_WITH_PEER})
    core.handle(NodeAttached("n", "old", (STORE,), capabilities=capable), 1.0)
    core.handle(NodeAttached("n", "new", (STORE, "more"), capabilities=capable), 2.0)
    assert core.handle(NodeDetached("n", "old"), 3.0) == []
    assert core.next_deadline() is not None


def test_a_node_on_a_sleeping_host_has_no_condition() -> None:
    swarm = make()
    lone = swarm.add("n0", rhythm=0.0)
    lone.unsynced = 1
    swarm.run(40)
    suspected = len(swarm.suspected())
    assert suspected
    lone.alive = False
    swarm.tell(NodesSlept(("n0", "unknown")))
    assert [one.cause for _, one in swarm.cleared()] == [Cause.SUSPICION]
    swarm.run(100)
    assert len(swarm.suspected()) == suspected


def test_a_node_that_announces_its_sleep_has_no_condition() -> None:
    core = LoneDiagnosis(LivenessParameters(), FakePresence())
    found = list[object]()
    for second in range(0, 40, 2):
        found += core.handle(LivenessReported("n", STORE, unsynced_writes=1), float(second))
    assert len(found) == 2
    (cleared,) = core.handle(LivenessReported("n", STORE, unsynced_writes=1, going_to_sleep=True), 41.0)
    assert cleared == SuspicionEnded("n", STORE, Cause.SUSPICION, healed=False)


def test_the_same_events_give_the_same_findings() -> None:
    def run() -> list[object]:
        swarm = make(5)
        swarm.grow(8)
        swarm.run(30)
        swarm.cut(names(3), names(5, 3))
        swarm.run(50)
        swarm.mend()
        swarm.run(20)
        return list(swarm.findings)

    first = run()
    assert first == run()
    assert any(isinstance(one, tuple) and isinstance(one[1], SyncWanted) for one in first)


def test_every_triggered_condition_ends_with_a_finding() -> None:
    swarm = make()
    for node_id in ("n0", "n1"):
        swarm.add(node_id, rhythm=0.0).unsynced = 1
        swarm.members[node_id].view.clear()
    swarm.run(40)
    assert {one.node_id for _, one in swarm.suspected(Cause.SUSPICION)} == {"n0", "n1"}
    swarm.members["n0"].alive = False  # falls silent without a goodbye
    swarm.run(100)
    assert ("n0", Cause.SUSPICION) in accused(swarm.cleared())
    diagnosis(swarm).forget_store(STORE)
    swarm.tell(TimePassed())
    assert ("n1", Cause.SUSPICION) in accused(swarm.cleared())
    assert not any(one.healed for _, one in swarm.cleared())


def test_unconfirmed_rot_ends_without_counting_as_healed() -> None:
    swarm = settled(0, 5)
    swarm.blocked = lambda sender, receiver, large: sender == "n0"
    swarm.run(40)
    assert swarm.suspected(Cause.OUTBOUND_ROT)
    swarm.members["n0"].rhythm = 1e6  # it broadcasts nothing more, so nothing is lost
    swarm.run(150)
    (cleared,) = [one for _, one in swarm.cleared() if one.cause is Cause.OUTBOUND_ROT]
    assert not cleared.healed


def test_rot_of_the_last_node_of_a_store_ends() -> None:
    swarm = settled(1, 2)
    swarm.heals = False
    swarm.blocked = lambda sender, receiver, large: sender == "n0"
    swarm.run(60)
    assert swarm.suspected(Cause.OUTBOUND_ROT)
    swarm.mend()
    swarm.leave("n1")
    swarm.run(90)
    assert accused(swarm.cleared()) == [("n0", Cause.OUTBOUND_ROT)]


@pytest.mark.parametrize("seed", SEEDS)
def test_mute_marks_are_cleared_once_all_streams_of_a_store_end(seed: int) -> None:
    swarm = make(seed, view=2, pair_interval=5.0)  # a pair is due before the next evaluation, which then never comes
    swarm.grow(4)
    swarm.run(70)
    swarm.heals = False
    swarm.blocked = lambda sender, receiver, large: sender == "n0"
    swarm.run(25)
    assert swarm.presence.mute == {"n0"}
    for member in swarm.members.values():
        member.alive = False
        swarm.tell(NodeDetached(member.node_id, f"{member.node_id}-{member.sessions}"))
    swarm.run(60)
    assert swarm.core.next_deadline() is None
    assert not swarm.presence.mute
