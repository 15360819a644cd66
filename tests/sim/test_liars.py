"""Nodes with credentials that say what is not true of others: what they do to the honest ones is bounded."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.sim.liars import LIES, Fleet, Harm, Trial

HONEST = 14


def tried(lie: str, liars: int, seconds: float = 120.0) -> Harm:
    return Fleet(Trial(lie=lie, honest=HONEST, liars=liars, seconds=seconds)).run()


@pytest.mark.parametrize("liars", [1, 2])
@pytest.mark.parametrize("lie", LIES)
def test_no_honest_node_rejoins_because_of_a_lie(lie: str, liars: int) -> None:
    """Two that vouched for each other, or feigned a partition, had dozens of honest nodes rejoin."""
    harm = tried(lie, liars)
    assert not harm.rejoins
    assert not harm.resubscribed
    if lie == "partition":
        assert not harm.dials, "nobody is sent to who was never linked"


@pytest.mark.parametrize("lie", LIES)
def test_liars_have_no_more_bootstrap_places_than_others(lie: str) -> None:
    """Invented peers took all of them."""
    harm = tried(lie, 2, 200.0)
    nodes = 4 if lie == "partition" else 2
    assert harm.places > 100
    assert harm.false_places / harm.places < 2 * nodes / (HONEST + nodes - 5), "twice its share, for chance"


def test_a_mute_node_is_repaired_and_offline_whoever_claims_to_hear_it() -> None:
    """One such claim left it one rejoin instead of four, and online."""
    truth, masked = tried("mask", 0, 200.0), tried("mask", 1, 200.0)
    assert truth.triggers == masked.triggers > 1
    assert truth.state is masked.state is PeerState.OFFLINE
