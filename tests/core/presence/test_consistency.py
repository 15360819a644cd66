"""Random events with random pauses: all views of liveness stay consistent."""

from __future__ import annotations

import random
from collections.abc import Iterator

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.event import (
    NEVER,
    LivenessEvent,
    LivenessReported,
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    NodesSlept,
    NodesWoke,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.phases import NO_SHRINKING
from tests.kit.roster import LoneLiveness

STORES = ("a", "b", "c")
NODES = tuple(f"n{number}" for number in range(6))
PEERS = (*NODES, "p", "q")
CAN_SYNC = frozenset({Capability.SYNC_WITH_PEER})
PAUSES = (0.0, 0.1, 1.0, 2.0, 2.0, 2.0, 10.0, 40.0, 200.0, 1000.0)
"""Seconds between two events, from within a report interval to beyond every memory."""
AGES = (0.0, 0.5, 3.0, 20.0, 1000.0, -5.0)
"""Seconds; the core must also bear times in the future."""


@given(st.integers(0, 2**32))
@example(1)  # a peer took the row of the node that reported it
@example(92)  # a peer was forgotten while overdue
@settings(max_examples=150, deadline=None, phases=NO_SHRINKING)
def test_all_views_of_liveness_stay_consistent(seed: int) -> None:
    chance = random.Random(seed)
    parameters = LivenessParameters(
        peers_per_store=chance.choice((1, 2, 4, 100)),
        peer_limit=chance.choice((2, 5, 12, 1000)),
        peer_age=chance.choice((5.0, 30.0, 100.0, 86_400.0)),
        report_ceiling=2.5,
        suspect_ceiling=chance.choice((5.0, 30.0)),
        offline_after=chance.choice((1.0, 30.0)),
        pair_interval=chance.choice((10.0, 600.0)),
        rot_window=chance.choice((10.0, 30.0)),
    )
    liveness, now = LoneLiveness(parameters), 1000.0
    for event in happenings(chance):
        pause = chance.choice(PAUSES)
        is_idle = chance.random() < 0.9  # otherwise deadlines are served late
        while is_idle and (deadline := liveness.next_deadline()) is not None and deadline <= now + pause:
            now, pause = max(now, deadline), now + pause - max(now, deadline)
            liveness.handle(TimePassed(), now)
        now += pause
        if isinstance(event, str):
            liveness.forget_store(event)
            event = TimePassed()
        liveness.handle(aged(event, chance, now), now)
        check(liveness, parameters)


def happenings(chance: random.Random) -> Iterator[LivenessEvent | str]:
    """Random events, still without times; a string is a store to forget."""
    sessions: dict[str, str] = {}
    for number in range(80):
        node_id, store_id, peer_id = chance.choice(NODES), chance.choice(STORES), chance.choice(PEERS)
        match chance.choices(range(8), (60, 10, 10, 6, 3, 3, 5, 3))[0]:
            case 0:
                yield LivenessReported(node_id, store_id)
            case 1:
                yield NeighborChanged(node_id, store_id, peer_id, chance.random() < 0.5, 0.0)
            case 2:
                sessions[node_id] = f"s{number}"
                stores, capable = (
                    tuple(chance.sample(STORES, chance.randint(0, 3))),
                    chance.choice((CAN_SYNC, frozenset())),
                )
                incarnation = chance.choice("xy")
                yield NodeAttached(node_id, sessions[node_id], stores, capabilities=capable, incarnation=incarnation)
            case 3:
                yield NodeDetached(node_id, sessions.get(node_id, "none"), chance.random() < 0.5)
            case 4:
                yield NodesSlept((node_id,))
            case 5:
                yield NodesWoke((node_id,))
            case 6:
                yield SyncFinished(node_id, store_id, peer_id, chance.random() < 0.5)
            case _:
                yield store_id


def aged(event: LivenessEvent, chance: random.Random, now: float) -> LivenessEvent:
    """The event with random times."""
    if isinstance(event, NeighborChanged):
        return NeighborChanged(event.node_id, event.store_id, event.peer_id, event.up, now - chance.random())
    if not isinstance(event, LivenessReported):
        return event
    named = chance.sample(PEERS, chance.randint(0, 5))
    heard = {peer_id: NEVER if chance.random() < 0.1 else now - chance.choice(AGES) for peer_id in named}
    return LivenessReported(
        node_id=event.node_id,
        store_id=event.store_id,
        heard=heard,
        neighbors={peer_id: now - chance.choice(AGES) for peer_id in chance.sample(PEERS, chance.randint(0, 3))},
        broadcast_count=chance.randint(0, 500),
        unsynced_writes=chance.choice((0, 0, 3)),
        going_to_sleep=chance.random() < 0.03,
        heard_counts=[chance.randint(0, 500) for _ in heard] if chance.random() < 0.8 else (),
        direct=[peer_id for peer_id, at in heard.items() if at > NEVER and chance.random() < 0.3],
    )


def check(liveness: Liveness, parameters: LivenessParameters) -> None:
    """Every known peer has one state, is counted once, and the limits hold."""
    presence, diagnosis = liveness.presence, liveness.diagnosis
    total = dict.fromkeys(PeerState, 0)
    for store_id, store in presence.stores.items():
        peers = list(liveness.peers(store_id))
        assert 0 < len(peers) <= parameters.peers_per_store
        counts = liveness.store_counts(store_id)
        assert counts.peers == {state: sum(peer.state is state for peer in peers) for state in PeerState}
        assert [presence.table.peer_ids[row] for row in store.index.values()] == list(store.index)
        for peer in peers:
            total[peer.state] += 1
    assert liveness.counts().peers == total
    assert sum(total.values()) == liveness.peer_total <= parameters.peer_limit
    unsynced = [diagnosis.store_counts(store_id) for store_id in STORES]
    assert liveness.counts().pairs_unsynced == sum(pairs for pairs, _ in unsynced)
    assert liveness.counts().partitioned == sum(partitioned for _, partitioned in unsynced)
