"""Diagnosis of simulated overlays whose true state is known: it finds what is wrong, and only that."""

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

from tests.kit.diagnosis_lab import STORE, FakePresence, Lab, accused, make, names, settled
from tests.kit.phases import NO_SHRINKING
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


def join(lab: Lab, one: int, other: int) -> None:
    lab.grow(1, rhythm=RHYTHMS[one % 8], interval=INTERVALS[other % 5], reports=one % 7 > 0, capable=other % 3 > 0)


def happen(lab: Lab, what: str, one: int, other: int) -> None:
    alive = [member for member in lab.members.values() if member.alive]
    node, peer = alive[one % len(alive)], alive[other % len(alive)]
    match what:
        case "join":
            join(lab, one, other)
        case "leave" | "vanish" if len(alive) > 2:
            lab.leave(node.node_id, announced=what == "leave")
        case "talk":
            for _ in range(other % 30):
                lab.broadcast(node.node_id)
        case "meet":
            lab.link(node.node_id, peer.node_id)
        case "cut":
            side = {member.node_id for member in alive[: 1 + one % len(alive)]}
            one_way = other % 3
            lab.blocked = lambda sender, receiver, large: (
                (sender in side) != (receiver in side) and not (one_way == 1 and sender in side)
            )
            lab.run(0.5 + other / 20)
            lab.mend(late=True)
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
@example(
    # The report that is under way when a node gets its second neighbour does not arrive behind the news of it.
    seed=33554432,
    view=2,
    latency=0.05,
    nodes=[(25, 100), (4, 84)],
    story=[
        ("cut", 1.8224195117096307, 23, 10),
        ("join", 35.34845748262036, 91, 63),
        ("leave", 1.2217062028692465, 66, 53),
        ("leave", 21.9481217801823, 16, 24),
        ("talk", 29.886691401081713, 48, 5),
        ("talk", 38.63367273962313, 42, 77),
        ("meet", 27.168939915578434, 77, 50),
    ],
)
@settings(max_examples=60, deadline=None, phases=NO_SHRINKING)
def test_a_healthy_overlay_never_causes_a_trigger(
    seed: int, view: int, latency: float, nodes: Sequence[tuple[int, int]], story: Sequence[Happening]
) -> None:
    lab = make(seed, view, latency)
    for one, other in nodes:
        join(lab, one, other)
    for what, wait, one, other in story:
        lab.run(wait)
        happen(lab, what, one, other)
    lab.run(60)
    assert len(lab.components()) == 1
    assert lab.suspected() == []
    assert not lab.presence.mute


@given(st.integers(0, 1000), st.integers(2, 10))
@settings(max_examples=10, deadline=None, phases=NO_SHRINKING)
def test_a_complete_but_silent_overlay_never_causes_a_trigger(seed: int, count: int) -> None:
    lab = make(seed, view=20)
    lab.grow(count, rhythm=0.0)
    lab.complete()
    lab.run(200)
    assert lab.suspected() == []


def test_a_node_that_lost_messages_and_fell_silent_does_not_stay_mute() -> None:
    lab = make(5)
    lab.grow(3, rhythm=0.0)
    lab.complete()
    lab.run(20)
    lab.lose("n0", 10)
    lab.run(10)
    assert lab.presence.mute == {"n0"}
    lab.mend()
    lab.run(60)
    assert not lab.presence.mute


def test_rare_or_late_reports_are_no_sign_of_rot() -> None:
    lab = make(3, latency=1.5)
    lab.grow(3, rhythm=0.5, interval=30.0)
    lab.grow(3, rhythm=0.5, interval=2.0)
    lab.run(400)
    assert lab.suspected() == []


def test_a_frozen_node_has_no_rot_from_what_it_missed() -> None:
    lab = settled(4, 5)
    frozen = lab.members["n0"]
    reports, frozen.interval = frozen.interval, 40.0
    lab.run(2)
    lab.blocked = lambda sender, receiver, large: "n0" in (sender, receiver)
    frozen.rhythm, rhythm = 1000.0, frozen.rhythm
    lab.run(39)
    lab.mend()
    frozen.interval, frozen.rhythm = reports, rhythm
    lab.run(100)
    assert lab.suspected(*ROTS) == []


# Rot.


@pytest.mark.parametrize("seed", SEEDS)
def test_unheard_broadcasts_are_found_within_the_window_and_cleared_once_mended(seed: int) -> None:
    lab = settled(seed, 6)
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    cut_at = lab.now
    lab.run(60)
    suspected = lab.suspected()
    assert set(accused(suspected)) == {("n0", Cause.OUTBOUND_ROT)}
    assert 10 <= suspected[0][0] - cut_at <= 20
    assert suspected[0][1].evidence.startswith("nobody who could tell has heard its broadcasts for ")
    assert lab.presence.mute == {"n0"}
    lab.mend()
    lab.run(70)
    assert not lab.presence.mute
    assert accused(lab.cleared()) == [("n0", Cause.OUTBOUND_ROT)]
    mended_at = lab.now
    lab.run(100)
    assert [one for at, one in lab.suspected() if at >= mended_at] == []


def speak_into_a_black_hole(lab: Lab, node_id: str) -> None:
    """Broadcast a large message every 3 s for a minute; the node is found within 45 s, and no other."""
    began_at = lab.now
    for _ in range(20):
        lab.run(3)
        lab.broadcast(node_id, large=True)
    suspected = lab.suspected()
    assert set(accused(suspected)) == {(node_id, Cause.OUTBOUND_ROT)}
    assert suspected[0][0] - began_at <= 45


@pytest.mark.parametrize("seed", SEEDS)
def test_a_black_hole_for_large_messages_is_found_though_small_ones_arrive(seed: int) -> None:
    lab = settled(seed, 6)
    lab.blocked = lambda sender, receiver, large: sender == "n0" and large
    speak_into_a_black_hole(lab, "n0")
    assert "reached none of" in lab.suspected()[0][1].evidence
    assert not lab.presence.mute  # small messages still show life


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_never_heard_behind_a_black_hole_is_found(seed: int) -> None:
    lab = make(seed)
    lab.grow(5)
    lab.blocked = lambda sender, receiver, large: sender == "n5" and large
    lab.grow(1, rhythm=0.0)
    lab.complete()
    speak_into_a_black_hole(lab, "n5")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_does_not_hear_what_others_hear_is_found(seed: int) -> None:
    lab = settled(seed, 6)
    lab.blocked = lambda sender, receiver, large: receiver == "n0"
    cut_at = lab.now
    lab.run(60)
    suspected = lab.suspected()
    assert set(accused(suspected)) == {("n0", Cause.INBOUND_ROT)}
    assert suspected[0][0] - cut_at <= 35
    lab.mend()
    lab.run(100)
    assert accused(lab.cleared()) == [("n0", Cause.INBOUND_ROT)]


def test_of_two_nodes_the_unheard_one_has_the_rot() -> None:
    lab = make()
    lab.grow(2)
    lab.run(70)
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(40)
    assert set(accused(lab.suspected())) == {("n0", Cause.OUTBOUND_ROT)}


# Isolation and stuck writes.


def test_a_node_without_neighbours_in_a_store_with_others_is_isolated() -> None:
    lab = make()
    lab.heals = False
    lab.grow(4, capable=False)
    lab.run(30)
    lone = lab.members["n0"]
    for peer_id in list(lone.view):
        lab.unlink("n0", peer_id)
    lab.repair_without("n0")
    neighbor_lost_at = lab.now
    lab.run(9)
    (at, found), *_ = lab.suspected(Cause.ISOLATED)
    assert (found.node_id, found.evidence) == ("n0", "no neighbours")
    assert 3 <= at - neighbor_lost_at <= 7


def test_a_node_that_is_alone_in_its_store_is_not_isolated() -> None:
    lab = make()
    lab.grow(1)
    lab.run(60)
    assert lab.findings == []


def test_unsynced_writes_cause_suspicion_only_after_a_continuous_while_with_no_peer_heard() -> None:
    lab = make()
    lone = lab.add("n0", rhythm=0.0)
    lone.unsynced = 3
    lab.run(20)
    lone.unsynced = 0
    lab.run(5)
    lone.unsynced = 2
    since = lab.now
    lab.run(60)
    first, second, *_ = lab.suspected(Cause.SUSPICION)
    assert 30 <= first[0] - since <= 35
    assert first[1].evidence.startswith("2 local writes unsynced for 3")
    assert second[0] - first[0] >= 6
    lab.add("n1")
    lab.link("n0", "n1")
    lab.run(10)
    assert [one.cause for _, one in lab.cleared()] == [Cause.SUSPICION]


# Pairs.


@given(st.integers(0, 10**6), st.integers(2, 14))
@settings(max_examples=10, deadline=None, phases=NO_SHRINKING)
def test_every_pair_meets_within_the_interval_as_long_as_the_budget_allows(seed: int, count: int) -> None:
    lab = make(seed, pair_interval=60.0)
    lab.grow(count)
    met: dict[frozenset[str], float] = {}
    longest, ready_at = 0.0, lab.now
    for _ in range(200):
        lab.run(1)
        for member in lab.members.values():
            for peer_id in member.view:
                met[frozenset((member.node_id, peer_id))] = lab.now
        for at, wanted in lab.wanted():
            met[frozenset((wanted.node_id, wanted.peer_id))] = max(
                at, met.get(frozenset((wanted.node_id, wanted.peer_id)), at)
            )
        lab.findings.clear()
        pairs = [frozenset((f"n{a}", f"n{b}")) for a in range(count) for b in range(a)]
        longest = max(longest, *(lab.now - met.get(pair, ready_at) for pair in pairs))
    assert longest <= 60.0 + 5.0


def test_ten_nodes_sync_the_pairs_that_never_become_neighbours() -> None:
    lab = make(1)
    lab.grow(10)
    lab.run(6)
    unsynced = lab.diagnosis.pairs_unsynced
    neighbors = {frozenset((one.node_id, peer)) for one in lab.members.values() for peer in one.view}
    assert 0 < unsynced <= 45 - len(neighbors)
    assert lab.diagnosis.store_counts(STORE) == (unsynced, 0)
    lab.run(60)
    assert lab.diagnosis.pairs_unsynced == 0
    named = {frozenset((wanted.node_id, wanted.peer_id)) for _, wanted in lab.wanted()}
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
    lab = make(2, sync_rate=0.2)
    lab.grow(12)
    lab.run(200)
    asked: defaultdict[str, list[float]] = defaultdict(list)
    for at, wanted in lab.wanted():
        asked[wanted.node_id].append(at)
    for times in asked.values():
        assert all(later - at >= 5.0 - 1e-6 for at, later in pairwise(times))


def test_nodes_that_cannot_sync_are_never_asked() -> None:
    lab = make()
    lab.grow(5)
    lab.grow(5, capable=False)
    lab.run(200)
    assert {wanted.node_id for _, wanted in lab.wanted()} <= set(names(5))


# Events.


def report(node_id: str, store_id: str = STORE, **said: int) -> LivenessReported:
    return LivenessReported(node_id, store_id, broadcast_count=said.get("broadcasts", 0))


def test_a_store_without_nodes_is_forgotten() -> None:
    presence = FakePresence()
    core = LoneDiagnosis(LivenessParameters(), presence)
    core.handle(LivenessReported("n", STORE, heard={"p": 9.0}), 10.0)
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
    lab = make()
    lone = lab.add("n0", rhythm=0.0)
    lone.unsynced = 1
    lab.run(40)
    suspected = len(lab.suspected())
    assert suspected
    lone.alive = False
    lab.tell(NodesSlept(("n0", "unknown")))
    assert [one.cause for _, one in lab.cleared()] == [Cause.SUSPICION]
    lab.run(100)
    assert len(lab.suspected()) == suspected


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
        lab = make(5)
        lab.grow(8)
        lab.run(30)
        lab.cut(names(3), names(5, 3))
        lab.run(50)
        lab.mend()
        lab.run(20)
        return list(lab.findings)

    first = run()
    assert first == run()
    assert any(isinstance(one, tuple) and isinstance(one[1], SyncWanted) for one in first)


def test_every_triggered_condition_ends_with_a_finding() -> None:
    lab = make()
    for node_id in ("n0", "n1"):
        lab.add(node_id, rhythm=0.0).unsynced = 1
        lab.members[node_id].view.clear()
    lab.run(40)
    assert {one.node_id for _, one in lab.suspected(Cause.SUSPICION)} == {"n0", "n1"}
    lab.members["n0"].alive = False  # falls silent without a goodbye
    lab.run(100)
    assert ("n0", Cause.SUSPICION) in accused(lab.cleared())
    lab.diagnosis.forget_store(STORE)
    lab.tell(TimePassed())
    assert ("n1", Cause.SUSPICION) in accused(lab.cleared())
    assert not any(one.healed for _, one in lab.cleared())


def test_unconfirmed_rot_ends_without_counting_as_healed() -> None:
    lab = settled(0, 5)
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(40)
    assert lab.suspected(Cause.OUTBOUND_ROT)
    lab.members["n0"].rhythm = 1e6  # it broadcasts nothing more, so nothing is lost
    lab.run(150)
    (cleared,) = [one for _, one in lab.cleared() if one.cause is Cause.OUTBOUND_ROT]
    assert not cleared.healed


def test_rot_of_the_last_node_of_a_store_ends() -> None:
    lab = settled(1, 2)
    lab.heals = False
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(60)
    assert lab.suspected(Cause.OUTBOUND_ROT)
    lab.mend()
    lab.leave("n1")
    lab.run(90)
    assert accused(lab.cleared()) == [("n0", Cause.OUTBOUND_ROT)]


@pytest.mark.parametrize("seed", SEEDS)
def test_mute_marks_are_cleared_once_all_streams_of_a_store_end(seed: int) -> None:
    lab = make(seed, view=2, pair_interval=5.0)  # a pair is due before the next evaluation, which then never comes
    lab.grow(4)
    lab.run(70)
    lab.heals = False
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(25)
    assert lab.presence.mute == {"n0"}
    for member in lab.members.values():
        member.alive = False
        lab.tell(NodeDetached(member.node_id, f"{member.node_id}-{member.sessions}"))
    lab.run(60)
    assert lab.diagnosis.next_deadline() is None
    assert not lab.presence.mute
