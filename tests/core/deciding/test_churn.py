"""Never feed churn: what fresh neighbours refute, and what they do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import Cause, DecisionKind, Outcome, Rule
from gossipcontrol.server.core.event import (
    ChangeKind,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    RejoinRequested,
)

from tests.kit.core_lab import Lab

REFUTABLE = (Cause.SUSPICION, Cause.ISOLATED)
EVIDENT = (Cause.OUTBOUND_ROT, Cause.INBOUND_ROT, Cause.PARTITION)
"""What several nodes' reports give away; a partitioned node has fresh neighbours on its own side."""


@pytest.mark.parametrize("cause", REFUTABLE)
def test_fresh_neighbours_refute_a_suspicion(lab: Lab, cause: Cause) -> None:
    lab.attach()
    lab.neighbor_up()
    lab.advance(19)
    (decision,) = lab.answer(RejoinRequested("n", cause=cause)).decisions
    assert (decision.kind, decision.rule, decision.rejoin_id) == (DecisionKind.SKIPPED, Rule.FRESH_NEIGHBORS, "")
    lab.advance(600)
    assert lab.starts == []


@pytest.mark.parametrize("cause", EVIDENT)
def test_fresh_neighbours_do_not_refute_what_no_single_node_can_see(lab: Lab, cause: Cause) -> None:
    lab.attach()
    lab.neighbor_up()
    assert lab.answer(RejoinRequested("n", cause=cause)).decisions[0].kind is DecisionKind.STARTED


@pytest.mark.parametrize("cause", EVIDENT)
def test_what_no_single_node_can_see_starts_in_its_turn_in_spite_of_neighbours(lab: Lab, cause: Cause) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
    lab.answer(RejoinRequested("n", cause=cause))
    lab.neighbor_up()
    lab.advance(60)
    assert lab.start_times() == [1000.0, 1006.0]


@pytest.mark.parametrize(
    "event",
    [
        RejoinRequested("n", cause=Cause.MANUAL),
        NetworkChanged("h", kind=ChangeKind.CHANGED),
        NetworkChanged("h", kind=ChangeKind.RESUMED),
        NetworkChanged("h", kind=ChangeKind.FOREGROUND),
    ],
)
def test_news_from_outside_starts_a_rejoin_in_spite_of_fresh_neighbours(
    lab: Lab, event: RejoinRequested | NetworkChanged
) -> None:
    lab.attach(host_id="h")
    lab.neighbor_up()
    assert lab.answer(event).decisions[0].kind is DecisionKind.STARTED


@pytest.mark.parametrize("what", ["silent", "went", "reported gone"])
def test_without_a_fresh_neighbour_a_suspicion_stands(lab: Lab, what: str) -> None:
    lab.attach()
    lab.neighbor_up()
    if what == "silent":
        lab.advance(20)
    elif what == "went":
        lab.handle(NeighborChanged("n", "a", "p", False, lab.now))
    else:
        lab.handle(LivenessReported("n", "a"))
    assert lab.answer(RejoinRequested("n", cause=Cause.SUSPICION)).decisions[0].kind is DecisionKind.STARTED


def test_a_report_gives_the_sign_of_life_of_a_neighbour(lab: Lab) -> None:
    lab.attach()
    lab.handle(LivenessReported("n", "a", neighbors={"p": lab.now - 100}))
    assert lab.answer(RejoinRequested("n", cause=Cause.ISOLATED)).decisions[0].kind is DecisionKind.STARTED
    lab.advance(10)
    lab.handle(LivenessReported("n", "a", {"p": lab.now - 5}, {"p": lab.now - 110}))
    assert lab.answer(RejoinRequested("n", cause=Cause.ISOLATED)).decisions[0].kind is DecisionKind.SKIPPED


def test_one_of_two_neighbours_that_goes_leaves_the_other_fresh(lab: Lab) -> None:
    lab.attach()
    lab.neighbor_up("p")
    lab.advance(1)
    lab.neighbor_up("q")
    lab.handle(NeighborChanged("n", "a", "q", False, lab.now))
    assert lab.answer(RejoinRequested("n", cause=Cause.SUSPICION)).decisions[0].kind is DecisionKind.SKIPPED


def test_a_suspicion_that_waits_ends_with_an_event_when_neighbours_come_first(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
    lab.neighbor_up()
    lab.advance(60)
    assert lab.start_times() == [1000.0]
    assert [a.outcome for _, a in lab.announcements] == [Outcome.VERIFIED, Outcome.SKIPPED]
    assert (lab.core.counts().queued, lab.core.deciding.next_deadline()) == (0, None)


def test_a_trailing_run_that_news_shares_starts_in_spite_of_neighbours(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
    lab.answer(RejoinRequested("n"))
    lab.neighbor_up()
    lab.advance(60)
    assert lab.start_times() == [1000.0, 1006.0]


def test_a_suspicion_in_the_global_queue_is_refuted_in_its_turn(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(rate=1.0, burst=1))
    lab.attach("n", "a", "b", "c")
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
    lab.neighbor_up(store_id="b")
    lab.advance(60)
    assert [start.store_id for _, start in lab.starts] == ["a", "c"]
    assert {a.outcome for _, a in lab.announcements if a.store_id == "b"} == {Outcome.SKIPPED}


def test_refuted_suspicions_of_one_window_share_one_record(lab: Lab) -> None:
    lab.attach()
    for _ in range(100):
        lab.neighbor_up()
        lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
        lab.advance(0.1)
    records = list(lab.core.catalog.rejoins())
    assert len(records) == 2
    assert sum(record.trigger_count for record in records) == 100
