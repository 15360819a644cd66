"""A trigger that concerns very many stores is decided slice by slice, and no turn of the event loop is long."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from gossipcontrol.server.core.core import DEPARTURES
from gossipcontrol.server.core.deciding.intake import SLICE
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.effect import AnswerTrigger, Effect, StartRejoin
from gossipcontrol.server.core.event import ChangeKind, NetworkChanged, NodeAttached, RejoinRequested, TimePassed
from gossipcontrol.server.core.finding import PresenceChanged
from gossipcontrol.server.core.presence.record import PeerState

from tests.core.deciding.test_replay import LoggingLab, restored, shown
from tests.kit.core_lab import Lab

NODES, STORES = 9, 500
ALL = NODES * STORES


def crowded(lab: Lab) -> None:
    """One host with many nodes, each with many stores."""
    for number in range(NODES):
        lab.handle(NodeAttached(f"n{number}", "s", tuple(f"s{store}" for store in range(STORES)), host_id="h"))


def decided(effects: Sequence[Effect]) -> int:
    return sum(len(one.decisions) for one in effects if isinstance(one, AnswerTrigger))


def test_a_change_of_a_crowded_host_is_answered_at_once_and_decided_in_slices() -> None:
    lab = Lab(Parameters(rate=1e6, burst=10**6))
    crowded(lab)
    first = lab.handle(NetworkChanged("h", boot_id="b", generation=1, request_id="q"))
    (answer,) = [one for one in first if isinstance(one, AnswerTrigger)]
    assert answer.total == ALL
    turns = [decided(first)]
    while lab.core.next_deadline() == lab.now:
        turns.append(decided(lab.handle(TimePassed())))
    assert sum(turns) == ALL
    assert max(turns) <= SLICE + STORES
    assert len(turns) >= ALL // (SLICE + STORES)
    assert len({(start.node_id, start.store_id) for _, start in lab.starts}) == ALL, "every store is covered"


def test_a_crash_between_two_slices_loses_nothing() -> None:
    lab = LoggingLab(Parameters(rate=1e6, burst=10**6))
    crowded(lab)
    lab.handle(NetworkChanged("h", boot_id="b", generation=1))
    lab.handle(TimePassed())
    lab.handle(RejoinRequested("n0", ("s1",)))
    assert shown(restored(lab.parameters, None, lab.log)) == shown(lab.core)
    again = restored(lab.parameters, json.dumps(lab.core.save()), ())
    started = {(start.node_id, start.store_id) for _, start in lab.starts}
    while again.deciding.next_deadline() == again.decided_at:
        effects = again.handle(TimePassed(), lab.now).effects
        started |= {(one.node_id, one.store_id) for one in effects if isinstance(one, StartRejoin)}
    assert len(started) == ALL


def test_what_is_left_keeps_its_places_in_the_queue() -> None:
    lab = Lab(Parameters(queue_limit=ALL, rate=0.001, burst=1))
    crowded(lab)
    lab.handle(NetworkChanged("h", boot_id="b", generation=1))
    assert decided(lab.handle(RejoinRequested("other", tuple(f"x{number}" for number in range(500))))) == 0
    while lab.core.next_deadline() == lab.now:
        lab.handle(TimePassed())
    assert lab.core.counts().queued <= ALL


def test_an_explanation_of_a_crowded_host_is_bounded_and_counts_all() -> None:
    lab = Lab()
    crowded(lab)
    forecast = lab.core.foretell(NetworkChanged("h", boot_id="b", generation=1), lab.now)
    assert (len(forecast.explanations), forecast.total) == (SLICE, ALL)


@pytest.mark.parametrize("kind", [ChangeKind.SLEEPING, ChangeKind.RESUMED])
def test_a_crowded_host_falls_asleep_and_wakes_in_slices(kind: ChangeKind) -> None:
    lab = Lab(Parameters(rate=1e6, burst=10**6))
    crowded(lab)
    turns = [lab.turn(NetworkChanged("h", kind=ChangeKind.SLEEPING, boot_id="b", generation=1))]
    while lab.core.next_deadline() == lab.now:
        turns.append(lab.turn(TimePassed()))
    told = [{one.store_id for one in turn.findings if isinstance(one, PresenceChanged)} for turn in turns]
    assert max(map(len, told)) <= DEPARTURES, "also of one node with many stores"
    if kind is ChangeKind.RESUMED:
        lab.handle(NetworkChanged("h", kind=kind, boot_id="b", generation=2))
        while lab.core.next_deadline() == lab.now:
            lab.handle(TimePassed())
    wanted = PeerState.ASLEEP if kind is ChangeKind.SLEEPING else PeerState.ONLINE
    states = {peer.state for store in range(STORES) for peer in lab.core.liveness.peers(f"s{store}")}
    assert states == {wanted}
