"""Mute nodes: presence learns of them within seconds, and outbound rot follows soon."""

from __future__ import annotations

import random

import pytest
from gossipcontrol.server.core.decision import Cause
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.diagnosis_lab import make, names, settled
from tests.kit.phases import NO_SHRINKING

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_presence_learns_of_a_mute_peer_within_seconds(seed: int) -> None:
    lab = settled(seed, 6)
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(14)
    assert (lab.presence.mute, lab.presence.outvoted) == ({"n0"}, set())
    lab.run(30)
    assert lab.presence.outvoted == {"n0"}, "after a window one that claims to hear it proves nothing"


def test_the_smaller_side_of_a_partition_is_never_outvoted() -> None:
    """Until the sides are told apart, two nodes that hear only each other look mute to the others."""
    lab = make(0)
    lab.grow(2, rhythm=0.5)
    lab.grow(6, rhythm=6.0)
    lab.complete()
    lab.run(70)
    lab.cut(names(2), names(6, 2))
    seen = set[str]()
    for _ in range(20):
        lab.run(2)
        seen |= lab.presence.outvoted
    assert (seen, lab.diagnosis.partitioned) == (set(), 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_still_mute_when_a_partition_ends_is_found_within_seconds(seed: int) -> None:
    lab = settled(seed, 6)
    lab.cut(["n0"], names(5, 1))
    lab.run(20)
    assert lab.diagnosis.partitioned == 1
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    one_way_since = lab.now
    lab.run(12)
    ((at, found),) = lab.suspected()
    assert (found.node_id, found.cause) == ("n0", Cause.OUTBOUND_ROT)
    assert 5 <= at - one_way_since <= 10


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_heard_again_when_a_partition_ends_has_no_rot(seed: int) -> None:
    lab = settled(seed, 6)
    lab.cut(["n0"], names(5, 1))
    lab.run(20)
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(3)
    lab.mend(late=True)
    lab.run(60)
    assert lab.suspected(Cause.OUTBOUND_ROT, Cause.INBOUND_ROT) == []


@given(st.integers(0, 10**6))
@example(11)  # its counts, which cover the window before, agreed
@settings(max_examples=30, deadline=None, phases=NO_SHRINKING)
def test_a_mute_node_is_never_reported_as_healed(seed: int) -> None:
    chance = random.Random(seed)
    lab = make(seed, latency=chance.choice((0.05, 0.3, 0.8)))
    for _ in range(chance.randint(3, 7)):
        rhythm, interval = chance.choice((0.2, 0.4, 1.0, 2.0, 3.0)), chance.choice((1.0, 2.0, 5.0, 8.0, 12.0))
        lab.grow(1, rhythm=rhythm, interval=interval)
    lab.complete()
    lab.run(chance.uniform(40, 110))
    lab.blocked = lambda sender, receiver, large: sender == "n0"
    lab.run(45)
    assert [one for _, one in lab.cleared() if one.healed and one.cause is Cause.OUTBOUND_ROT] == []
