"""Partitions of simulated overlays with known state: a store is joined as soon as a path exists, at little cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from gossipcontrol.server.core.decision import Cause, Rung
from gossipcontrol.server.core.diagnosis.conditions import ConditionTracker
from gossipcontrol.server.core.diagnosis.partition import Partition
from gossipcontrol.server.core.finding import NodeSuspected
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.repair.partition_repair import PartitionRepair
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.diagnosis_lab import make, names
from tests.kit.phases import NO_SHRINKING

SPLITS = ((5, 5), (2, 2), (1, 3), (1, 1), (2, 3, 4))


@pytest.mark.parametrize("sizes", SPLITS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_partition_is_joined_within_three_seconds_of_the_path(sizes: tuple[int, ...], seed: int) -> None:
    lab = make(seed)
    lab.grow(sum(sizes))
    lab.run(40)
    first, sides = 0, list[list[str]]()
    for size in sizes:
        sides.append(names(size, first))
        first += size
    lab.cut(*sides)
    for side in sides:
        lab.repair_within(side)
    lab.run(120)
    assert lab.diagnosis.partitioned == 1
    assert lab.suspected() == []  # a rejoin without a path would fail
    lab.mend()
    mended_at = lab.now
    lab.run(3)
    assert len(lab.components()) == 1
    assert {one.cause for at, one in lab.suspected() if at >= mended_at} == {Cause.PARTITION}
    lab.run(60)
    assert lab.diagnosis.partitioned == 0
    triggers = [one for at, one in lab.suspected() if at >= mended_at]
    assert len(triggers) <= 2 * len(sizes)
    assert all(one.bridge and one.cause is Cause.PARTITION for one in triggers)
    assert {one.cause for _, one in lab.cleared()} == {Cause.PARTITION} | (
        {Cause.ISOLATED} if lab.suspected(Cause.ISOLATED) else set()
    )


def test_the_evidence_names_the_sides_and_the_path_that_was_found() -> None:
    lab = make()
    lab.grow(10)
    lab.run(40)
    lab.cut(names(4), names(6, 4))
    lab.run(60)
    lab.mend()
    lab.run(4)
    (_, first), (_, second), *_ = lab.suspected(Cause.PARTITION)
    reached, reacher = first.bridge[0], second.bridge[0]
    assert first.evidence in (
        f"falls into 6 + 4 nodes (seen by 10): {reacher} reached {reached}",
        f"falls into 6 + 4 nodes (seen by 10): {reached} reached {reacher}",
    )
    assert first.node_id in names(4)  # the smaller side's node first
    assert set(first.bridge) <= set(names(6, 4))
    assert set(second.bridge) <= set(names(4))


@given(st.integers(0, 10**6), st.lists(st.integers(1, 6), min_size=2, max_size=4), st.floats(1.0, 8.0))
@example(56362, [5, 4, 1, 4], 4.5)  # two of the sides look like one for 25 s
@settings(max_examples=10, deadline=None, phases=NO_SHRINKING)
def test_a_lasting_partition_is_probed_at_most_once_per_side_and_interval(
    seed: int, sizes: list[int], interval: float
) -> None:
    lab = make(seed, bridge_interval=interval, pair_interval=10_000.0)
    lab.grow(sum(sizes))
    lab.run(20)
    first, side_of, sides = 0, dict[str, int](), list[list[str]]()
    for number, size in enumerate(sizes):
        sides.append(names(size, first))
        side_of |= dict.fromkeys(sides[-1], number)
        first += size
    lab.cut(*sides)
    for side in sides:
        lab.repair_within(side)
    seen_at = lab.now + 40
    lab.run(100)
    dials: defaultdict[int, list[float]] = defaultdict(list)
    targets: Counter[tuple[str, str]] = Counter()
    for at, wanted in lab.wanted():
        # Until every cut is seen, two sides that look like one still sync with each other, as all pairs do.
        if side_of[wanted.node_id] != side_of[wanted.peer_id] and at > seen_at:
            dials[side_of[wanted.node_id]].append(at)
            targets[wanted.node_id, wanted.peer_id] += 1
    assert lab.diagnosis.partitioned
    assert len(dials) == len(sizes)
    for times in dials.values():
        assert all(later - at >= interval - 1e-6 for at, later in pairwise(times))
        assert len(times) >= 60 / (interval + 1.0) / 1.5
    assert len({node_id for node_id, _ in targets}) >= min(4, sum(sizes), 40 // interval)


def test_triggers_that_do_not_join_the_sides_are_repeated_with_backoff_per_node() -> None:
    lab = make()
    lab.heals = False
    lab.grow(6)
    lab.run(40)
    lab.cut(names(3), names(3, 3))
    for side in (names(3), names(3, 3)):
        lab.repair_within(side)
        for one in side:
            for other in set(lab.members[one].view) - set(side):
                del lab.members[one].view[other]
    lab.run(30)
    lab.mend()  # there is a path, but no node takes it
    lab.run(300)
    triggers = lab.suspected(Cause.PARTITION)
    assert {one.node_id for _, one in triggers} == set(names(6))
    for node_id in names(6):
        times = [at for at, one in triggers if one.node_id == node_id]
        gaps = [later - at for at, later in pairwise(times)]
        assert all(gap >= 6 * 2**place for place, gap in enumerate(gaps))


@pytest.mark.parametrize("seed", range(5))
def test_joined_nodes_are_cleared_while_the_store_is_still_cut_elsewhere(seed: int) -> None:
    lab = make(seed)
    lab.grow(5)
    lab.run(40)
    apart = (names(1), names(1, 1), names(3, 2))
    lab.cut(*apart)
    lab.repair_within(apart[2])
    lab.run(120)
    lab.cut(names(2), apart[2])  # a path between two of the three sides
    lab.run(20)
    assert len(lab.components()) == 2
    assert lab.diagnosis.partitioned == 1
    suspected = {one.node_id for _, one in lab.suspected(Cause.PARTITION)}
    assert suspected == set(names(2))
    assert {one.node_id for _, one in lab.cleared() if one.cause is Cause.PARTITION} == suspected
    lab.mend()
    lab.run(3)
    assert len(lab.components()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_node_without_neighbours_that_hears_but_is_not_heard_is_still_apart(seed: int) -> None:
    lab = make(seed)
    lab.grow(6)
    lab.run(40)
    rest = names(5, 1)
    lab.cut(["n0"], rest)
    lab.repair_within(rest)
    lab.run(70)  # its links went down
    for _ in range(12):
        lab.run(1)
        for peer_id in rest:  # over links that the others still have
            lab._receive("n0", peer_id, True)  # pyright: ignore[reportPrivateUsage]
    assert lab.diagnosis.partitioned == 1
    assert lab.suspected() == []
    lab.mend()
    lab.run(3)
    assert len(lab.components()) == 1
    assert {one.cause for _, one in lab.suspected()} == {Cause.PARTITION}


def passes(_one: str, _other: str) -> bool:
    """Syncs pass, and gossip does not."""
    return True


@pytest.mark.parametrize("size", [1, 2])
def test_only_a_node_without_live_links_resubscribes_where_it_lists_the_peer_that_was_reached(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other node would lose the links that it has on its own side."""
    lab = make()
    lab.grow(5)
    lab.complete()
    lab.run(40)
    lab.cut(names(size), names(5 - size, size))
    monkeypatch.setattr(lab, "reaches", passes)
    lab.run(20)
    begun = {one.node_id in names(size): one.first_rung for _, one in lab.suspected(Cause.PARTITION)}
    assert begun == {True: Rung.RESUBSCRIBE if size == 1 else Rung.REJOIN, False: Rung.REJOIN}


def test_without_a_prober_nodes_of_both_sides_take_turns_at_growing_intervals() -> None:
    """A node of the main side is the knock: in iroh-gossip who dialled in vain is deaf until its peer dials in."""
    lab = make()
    lab.grow(7, capable=False)
    lab.run(40)
    lab.cut(names(2), names(5, 2))
    lab.repair_within(names(2))
    lab.repair_within(names(5, 2))
    lab.run(200)
    triggers = lab.suspected(Cause.PARTITION)
    turns = [one.node_id in names(2) for _, one in triggers]
    assert turns == [number % 2 == 0 for number in range(len(turns))]
    assert len({one.node_id for _, one in triggers[:4]}) == 4, "whoever has not dialled comes first"
    assert [one.rejoin_only for _, one in triggers] == [not of_smaller for of_smaller in turns]
    assert all(
        (one.bridge[0] in names(2)) is not of_smaller for (_, one), of_smaller in zip(triggers, turns, strict=True)
    )
    gaps = [later - at for (at, _), (later, _) in pairwise(triggers)]
    assert 4 <= len(triggers) <= 7
    assert all(gap >= 6 * 2**place for place, gap in enumerate(gaps))
    lab.mend()
    lab.run(200)
    assert len(lab.components()) == 1


def turns_of(partition: Partition, seconds: int) -> list[NodeSuspected]:
    """Who rejoins without a path, in so many seconds."""
    repair = PartitionRepair("s", LivenessParameters(), ConditionTracker(6.0, 300.0, 30.0))
    found = [one for second in range(seconds) for one in repair.trigger_blindly(partition, float(second))]
    return [one for one in found if isinstance(one, NodeSuspected)]


def test_once_every_node_of_both_sides_had_its_turn_in_vain_a_restart_is_what_is_left() -> None:
    partition = Partition(0.0)
    partition.sides = [["a", "b", "c"], ["d", "e"]]
    turns = turns_of(partition, 1500)
    assert "".join(one.node_id for one in turns) == "daebdceadb"
    advised = [place for place, one in enumerate(turns) if one.first_rung is Rung.RESTART_ADVISED]
    assert advised == [6], "after three of each side"
    partition.strange = frozenset({1})
    assert {one.node_id for one in turns_of(partition, 300)} == {"d", "e"}, "who was never linked moves nobody else"


@pytest.mark.parametrize("capable", [True, False])
@pytest.mark.parametrize("count", [3, 6])
def test_a_healed_partition_ends_even_without_messages(count: int, capable: bool) -> None:
    lab = make(5)
    lab.grow(count, rhythm=0.0, capable=capable)
    lab.complete()
    lab.run(20)
    lab.lose("n0", 10)
    lab.run(10)
    assert lab.diagnosis.partitioned == 1
    lab.mend()
    lab.run(40)
    assert lab.diagnosis.partitioned == 0
    quiet_since = lab.now
    lab.run(600)
    assert not [one for at, one in lab.suspected() if at > quiet_since]


def test_too_few_reporters_prove_no_partition() -> None:
    lab = make(partition_reporters=3)
    lab.grow(2)
    lab.run(40)
    lab.cut(["n0"], ["n1"])
    lab.run(60)
    assert lab.diagnosis.partitioned == 0


@pytest.mark.parametrize("capable", [True, False])
@pytest.mark.parametrize("state", [PeerState.ONLINE, PeerState.OFFLINE])
def test_peers_that_do_not_report_may_connect_a_store(state: PeerState, capable: bool) -> None:
    lab = make(view=2)
    for number in range(8):
        lab.grow(1, rhythm=0.0, reports=number % 2 == 0, capable=capable)
        lab.presence.states[f"n{number}"] = state if number % 2 else PeerState.ONLINE
    lab.run(200)
    assert lab.suspected() == []
    assert lab.diagnosis.partitioned == 0


def test_a_silent_peer_that_never_reported_hides_no_partition() -> None:
    lab = make()
    lab.grow(2)
    lab.add("x", rhythm=0.0, reports=False)
    lab.complete()
    lab.run(40)
    lab.presence.states["x"] = PeerState.OFFLINE
    lab.blocked = lambda sender, receiver, large: True  # it is dead too, though both still list it
    lab.run(20)
    assert lab.diagnosis.partitioned == 1


def test_nodes_that_were_never_linked_have_nobody_else_rejoin() -> None:
    """They had 26 honest nodes rejoin 74 times in five minutes, and dial them 148 times."""
    lab = make()
    lab.grow(8)
    lab.run(40)
    apart = ["x0", "x1"]
    inside = set(names(8))
    lab.blocked = lambda sender, receiver, large: (sender in inside) is not (receiver in inside)
    for node_id in apart:
        lab.add(node_id, linked=False)
    lab.repair_within(apart)
    lab.run(120)
    assert len(lab.components()) == 2
    assert lab.diagnosis.partitioned == 0, "nobody else ever heard of them"
    lab.mend()
    lab.run(60)
    assert {one.node_id for _, one in lab.suspected(Cause.PARTITION)} <= set(apart)
    assert len(lab.components()) == 1, "they found the others themselves"
