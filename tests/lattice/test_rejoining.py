"""When a Lattice node dials, when it only syncs, and when it waits."""

from __future__ import annotations

import pytest
from gossipcontrol.client.enumeration import PeerState
from gossipcontrol.client.presence import Peer
from gossipcontrol.lattice.calls import StorePeer
from gossipcontrol.lattice.rejoining import Step, away_peers, plan


def peers(**online: bool) -> list[StorePeer]:
    return [StorePeer("me", "active", True, 0.0), *(StorePeer(name, "active", up, 0.0) for name, up in online.items())]


def view(**states: PeerState) -> list[Peer]:
    return [Peer(name, state, None, 1) for name, state in states.items()]


ONLINE, OFFLINE, ASLEEP, LEFT = PeerState.ONLINE, PeerState.OFFLINE, PeerState.ASLEEP, PeerState.LEFT


@pytest.mark.parametrize(
    ("there", "states", "hints", "step"),
    [
        (peers(a=True, b=True), view(), (), Step.RECONNECT),
        (peers(), view(), (), Step.RECONNECT),
        (peers(a=False), view(), (), Step.RECONNECT),
        (peers(a=False), view(a=ONLINE), (), Step.RECONNECT),
        (peers(a=False), view(a=ASLEEP), (), Step.WAIT),
        (peers(a=False), view(a=LEFT), ("a",), Step.WAIT),
        (peers(a=False, b=True), view(a=ASLEEP, b=ONLINE), (), Step.SYNC),
        (peers(a=False, b=False), view(a=ASLEEP, b=ONLINE), (), Step.RECONNECT),
        (peers(a=False, b=False, c=True), view(a=ASLEEP, b=ONLINE, c=ONLINE), (), Step.SYNC),
        (peers(a=False, b=False, c=True), view(a=ASLEEP, b=ONLINE, c=ONLINE), ("b",), Step.RECONNECT),
        (peers(a=False, b=False, c=True), view(a=PeerState.SUSPECT, b=ONLINE, c=ONLINE), (), Step.RECONNECT),
    ],
)
def test_what_a_rejoin_does(there: list[StorePeer], states: list[Peer], hints: tuple[str, ...], step: Step) -> None:
    assert plan("me", there, states, hints) is step


def test_offline_counts_only_where_the_service_hears_somebody_else() -> None:
    """A service beside one node takes all others for offline after a cut of that very node."""
    assert away_peers("me", view(me=ONLINE, a=OFFLINE, b=OFFLINE)) == set()
    assert away_peers("me", view(me=ONLINE, a=OFFLINE, b=ONLINE)) == {"a"}


def test_who_is_no_member_is_not_waited_for() -> None:
    there = [*peers(a=True), StorePeer("r", "revoked", False, 0.0), StorePeer("i", "invited", False, 0.0)]
    assert plan("me", there, view(a=ONLINE, r=LEFT, i=ASLEEP), ()) is Step.RECONNECT
