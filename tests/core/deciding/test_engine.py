"""What is decided about triggers, told as scenes of one node, host or store."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import Capability, Cause, DecisionKind, Outcome, Rule, Rung
from gossipcontrol.server.core.effect import (
    AcceptNode,
    AnswerTrigger,
    RefuseNode,
    RefuseReuse,
    RefuseTrigger,
    RefuseUnknown,
    StartRejoin,
)
from gossipcontrol.server.core.event import (
    NEIGHBORS,
    ChangeKind,
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    RejoinRequested,
    StartDelayed,
)

from tests.kit.core_lab import Lab


def kinds(answer: AnswerTrigger) -> list[DecisionKind]:
    return [decision.kind for decision in answer.decisions]


def test_the_first_trigger_starts_at_once(lab: Lab) -> None:
    lab.attach()
    answer = lab.answer(RejoinRequested("n"))
    assert kinds(answer) == [DecisionKind.STARTED]
    assert answer.decisions[0].rule is Rule.LEADING_EDGE
    assert lab.start_times() == [1000.0]
    assert lab.starts[0][1].delay == 0.0


def test_all_further_triggers_within_the_window_share_one_trailing_run(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    second = lab.answer(RejoinRequested("n"))
    lab.advance(1)
    third = lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
    assert kinds(second) + kinds(third) == [DecisionKind.SCHEDULED, DecisionKind.COALESCED]
    assert second.decisions[0].rejoin_id == third.decisions[0].rejoin_id
    assert second.decisions[0].start_at == third.decisions[0].start_at == 1006.0
    lab.advance(60)
    assert lab.start_times() == [1000.0, 1006.0]
    assert lab.starts[1][1].causes == (Cause.MANUAL, Cause.SUSPICION)
    assert lab.starts[1][1].delay == 5.0


def test_a_network_change_concerns_every_node_of_the_host_and_every_store(lab: Lab) -> None:
    lab.attach("n1", "a", "b", host_id="h")
    lab.attach("n2", "a", host_id="h")
    lab.attach("n3", "a", host_id="other")
    answer = lab.answer(NetworkChanged("h"))
    assert [(d.node_id, d.store_id) for d in answer.decisions] == [("n1", "a"), ("n1", "b"), ("n2", "a")]
    assert kinds(answer) == [DecisionKind.STARTED] * 3


def test_a_generation_names_one_event_however_often_it_is_reported(lab: Lab) -> None:
    lab.attach(host_id="h")
    first = lab.answer(NetworkChanged("h", boot_id="b", generation=7))
    lab.advance(1)
    again = lab.answer(NetworkChanged("h", boot_id="b", generation=7))
    assert kinds(again) == [DecisionKind.DUPLICATE]
    assert again.decisions[0].rejoin_id == first.decisions[0].rejoin_id
    for other in (
        NetworkChanged("h", boot_id="b", generation=8),
        NetworkChanged("h", boot_id="c", generation=7),
        NetworkChanged("h"),
    ):
        assert DecisionKind.DUPLICATE not in kinds(lab.answer(other))
    lab.advance(60)
    assert len(lab.starts) == 2


def test_nobody_claims_the_generations_of_another_identity(lab: Lab) -> None:
    """Numbers claimed in advance made every true report of the host a duplicate for a day."""
    lab.attach("n", host_id="h")
    for number in range(20):
        lab.answer(NetworkChanged("h", boot_id="b", generation=number, speaker="other"))
    lab.advance(60)
    for speaker in ("watcher", ""):
        change = NetworkChanged("h", boot_id="b", generation=7, speaker=speaker)
        assert DecisionKind.DUPLICATE not in kinds(lab.answer(change))
        assert set(kinds(lab.answer(change))) == {DecisionKind.DUPLICATE}
        lab.advance(60)


def test_a_generation_is_known_for_a_day_after_its_first_report(lab: Lab) -> None:
    lab.attach(host_id="h")
    change = NetworkChanged("h", boot_id="b", generation=7)
    lab.answer(change)
    lab.advance(lab.parameters.generation_memory - 1)
    assert kinds(lab.answer(change)) == [DecisionKind.DUPLICATE]
    lab.advance(1)
    assert kinds(lab.answer(change)) == [DecisionKind.STARTED]


def test_decisions_remembered_are_bounded_however_many_stores_a_node_has(
    lab_with: Callable[[Parameters], Lab],
) -> None:
    lab = lab_with(Parameters(decision_limit=100))
    lab.attach("n", *(f"s{number}" for number in range(40)), host_id="h")
    for number in range(1, 10):
        lab.answer(NetworkChanged("h", boot_id="b", generation=number, request_id=f"q{number}"))
        lab.answer(NetworkChanged("", ("n",), boot_id="b", generation=number))
    remembered = lab.core.save()["intake"]
    assert sum(len(answer[1]) for _, _, answer in remembered["requests"]) == 80
    assert sum(len(decisions) for _, _, decisions in remembered["generations"]) == 80
    assert lab.answer(NetworkChanged("h", boot_id="b", generation=9, request_id="q9")).replayed
    assert set(kinds(lab.answer(NetworkChanged("h", boot_id="b", generation=9)))) == {DecisionKind.DUPLICATE}
    assert DecisionKind.DUPLICATE not in kinds(lab.answer(NetworkChanged("h", boot_id="b", generation=1)))


def test_a_generation_of_named_nodes_is_known_per_node(lab: Lab) -> None:
    lab.attach("n1")
    lab.attach("n2")
    lab.answer(NetworkChanged("", ("n1",), generation=1))
    answer = lab.answer(NetworkChanged("", ("n1", "n2"), generation=1))
    assert {d.node_id: d.kind for d in answer.decisions} == {"n1": DecisionKind.DUPLICATE, "n2": DecisionKind.STARTED}


def test_a_known_request_id_gets_the_recorded_answer_for_its_time(lab: Lab) -> None:
    lab.attach()
    first = lab.answer(RejoinRequested("n", request_id="q"))
    lab.advance(599)
    again = lab.answer(RejoinRequested("n", request_id="q"))
    assert again.replayed
    assert again.decisions == first.decisions
    lab.advance(1)
    assert not lab.answer(RejoinRequested("n", request_id="q")).replayed
    assert len(lab.starts) == 2


def test_a_node_without_an_agent_is_parked_and_starts_when_one_attaches(lab: Lab) -> None:
    lab.attach()
    lab.detach()
    answer = lab.answer(RejoinRequested("n"))
    assert kinds(answer) == [DecisionKind.PARKED]
    assert answer.decisions[0].start_at == 1600.0
    lab.advance(100)
    assert lab.starts == []
    effects = lab.attach(session_id="s2")
    assert [type(effect) for effect in effects] == [AcceptNode, StartRejoin]
    assert effects[0] == AcceptNode("n", "s2", 1)


def test_a_parked_rejoin_expires_with_an_event(lab: Lab) -> None:
    lab.attach()
    lab.detach()
    lab.answer(RejoinRequested("n"))
    lab.advance(300)
    lab.answer(RejoinRequested("n"))
    lab.advance(599)
    assert lab.announcements == []
    lab.advance(1)
    assert [(at, a.outcome) for at, a in lab.announcements] == [(1900.0, Outcome.EXPIRED)]
    assert lab.core.counts().parked == 0
    assert lab.core.deciding.next_deadline() is None


def test_an_unknown_host_is_parked_and_its_nodes_take_over_as_they_attach(lab: Lab) -> None:
    answer = lab.answer(NetworkChanged("h", kind=ChangeKind.RESUMED))
    assert kinds(answer) == [DecisionKind.PARKED]
    assert answer.decisions[0].rule is Rule.UNKNOWN_HOST
    lab.advance(1)
    lab.attach("n1", "a", "b", host_id="h")
    lab.advance(1)
    lab.attach("n2", host_id="h")
    assert [(s.node_id, s.store_id, s.causes) for _, s in lab.starts] == [
        ("n1", "a", (Cause.RESUME,)),
        ("n1", "b", (Cause.RESUME,)),
        ("n2", "a", (Cause.RESUME,)),
    ]
    assert lab.announcements[0][1].outcome is Outcome.SPLIT
    lab.advance(600)
    lab.attach("n3", host_id="h")
    assert sum(start.causes == (Cause.RESUME,) for _, start in lab.starts) == 3


def test_an_unknown_host_that_is_reported_again_stays_parked_for_its_nodes(lab: Lab) -> None:
    lab.answer(NetworkChanged("h", boot_id="b", generation=1))
    lab.advance(5)
    lab.answer(NetworkChanged("h", boot_id="b", generation=1))
    lab.advance(597)
    assert lab.core.counts().parked == 1, "the second report prolonged it"
    lab.attach("n", "a", host_id="h")
    assert lab.start_times("n", "a") == [lab.now]


def test_a_node_that_attaches_again_does_not_take_over_what_it_already_had(lab: Lab) -> None:
    lab.attach(host_id="h")
    lab.answer(NetworkChanged("h"))
    lab.neighbor_up()
    lab.advance(7)
    lab.detach()
    lab.attach(host_id="h", session_id="s2")
    assert len(lab.starts) == 1


def test_an_unknown_node_is_parked_with_or_without_stores(lab: Lab) -> None:
    whole = lab.answer(RejoinRequested("n1"))
    named = lab.answer(RejoinRequested("n2", ("a", "z")))
    assert kinds(whole) + kinds(named) == [DecisionKind.PARKED] * 3
    lab.attach("n1", "a", "b")
    lab.attach("n2", "a")
    assert sorted((s.node_id, s.store_id) for _, s in lab.starts) == [("n1", "a"), ("n1", "b"), ("n2", "a")]
    outcomes = {(a.node_id, a.store_id): a.outcome for _, a in lab.announcements}
    assert outcomes == {("n1", ""): Outcome.SPLIT, ("n2", "z"): Outcome.SKIPPED}


def test_a_store_that_the_node_does_not_have_is_skipped(lab: Lab) -> None:
    lab.attach()
    answer = lab.answer(RejoinRequested("n", ("b",)))
    assert kinds(answer) == [DecisionKind.SKIPPED]
    assert [r.outcome for r in lab.core.catalog.rejoins()] == [Outcome.SKIPPED]


def test_an_announced_sleep_starts_nothing(lab: Lab) -> None:
    lab.attach(host_id="h")
    answer = lab.answer(NetworkChanged("h", kind=ChangeKind.SLEEPING))
    assert (answer.cause, answer.decisions) == (None, ())
    assert lab.core.deciding.next_deadline() is None


def test_a_neighbour_newer_than_the_start_verifies(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.finish()
    lab.advance(1)
    lab.neighbor_up(ago=1.0)
    assert lab.announcements == []
    lab.neighbor_up(ago=0.5)
    assert [(a.outcome, a.duration) for _, a in lab.announcements] == [(Outcome.VERIFIED, 1.0)]
    lab.advance(60)
    assert len(lab.starts) == 1


def test_a_message_newer_than_the_start_verifies(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.handle(LivenessReported("n", "a", {"p": lab.now - 2}, {"q": lab.now - 5}))
    assert lab.announcements == []
    lab.handle(LivenessReported("n", "a", {"p": lab.now - 0.1}))
    assert lab.announcements[0][1].outcome is Outcome.VERIFIED


def test_without_proof_the_ladder_is_climbed_as_far_as_the_agent_can(lab: Lab) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.RESUBSCRIBE})))
    lab.report_unheard("q", "r")
    lab.answer(RejoinRequested("n"))
    lab.finish()
    lab.advance(120)
    assert [(at, s.rung, s.attempt) for at, s in lab.starts] == [
        (1000.0, Rung.REJOIN, 1),
        (1012.0, Rung.RESUBSCRIBE, 2),
    ]
    assert [a.outcome for _, a in lab.announcements] == [Outcome.WAITING, Outcome.UNVERIFIED]


def test_a_node_that_is_alone_climbs_no_ladder(lab: Lab) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.RESUBSCRIBE})))
    lab.handle(LivenessReported("n", "a"))
    lab.answer(RejoinRequested("n"))
    lab.advance(60)
    assert len(lab.starts) == 1
    [ended] = lab.core.catalog.rejoins()
    assert (ended.outcome, "no other peer of this store is known" in ended.detail) == (Outcome.UNVERIFIED, True)


def test_a_proof_that_comes_late_spares_the_next_attempt(lab: Lab) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.RESUBSCRIBE})))
    lab.report_unheard("q", "r")
    lab.answer(RejoinRequested("n"))
    lab.finish()
    lab.advance(7)
    assert next(lab.core.catalog.rejoins()).outcome is Outcome.WAITING
    lab.neighbor_up()
    assert next(lab.core.catalog.rejoins()).outcome is Outcome.VERIFIED
    lab.advance(60)
    assert len(lab.starts) == 1


def test_a_late_proof_does_not_cover_a_trigger_that_came_after_the_start(lab: Lab) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.RESUBSCRIBE})))
    lab.report_unheard("q")
    lab.answer(RejoinRequested("n"))
    lab.advance(5.5)
    lab.answer(RejoinRequested("n"))
    lab.neighbor_up()
    lab.advance(60)
    assert lab.start_times() == [1000.0, 1006.0]


def test_a_new_trigger_hastens_a_rejoin_that_backs_off(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.finish(error="no route", retry_in=40.0)
    lab.advance(2)
    answer = lab.answer(RejoinRequested("n"))
    assert kinds(answer) == [DecisionKind.COALESCED]
    lab.advance(10)
    assert lab.start_times() == [1000.0, 1006.0]
    assert lab.starts[1][1].delay == 4.0


def test_a_failed_attempt_is_tried_again_never_within_the_window(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.finish(error="no route", retry_in=0.1)
    lab.advance(7)
    assert lab.start_times() == [1000.0, 1006.0]
    assert lab.starts[1][1].delay is None
    lab.finish(error="no such topic")
    assert lab.announcements[-1][1].detail == "no such topic"
    lab.advance(60)
    assert len(lab.starts) == 2


def test_a_failed_attempt_is_followed_by_the_trailing_run_that_waits_anyway(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n"))
    lab.finish(error="no route", retry_in=1.0)
    lab.advance(60)
    assert lab.start_times() == [1000.0, 1006.0]


def test_a_command_that_leaves_late_has_its_proof_time_and_its_window_from_then_on(lab: Lab) -> None:
    lab.attach()
    lab.handle(RejoinRequested("n"))
    lab.advance(1)
    lab.handle(RejoinRequested("n"))
    lab.now += 20  # nothing fell due meanwhile: time stood still for the engine
    lab.handle(StartDelayed("t-1", 1))
    assert lab.core.deciding.next_deadline() == lab.now + lab.parameters.verify_timeout
    left_at = lab.now
    lab.advance(1)
    lab.neighbor_up()
    assert next(one for one in lab.core.catalog.rejoins() if one.rejoin_id == "t-1").verified_after == 1
    lab.advance(60)
    assert lab.start_times() == [1000.0, left_at + lab.parameters.window]


def test_a_late_result_of_an_earlier_attempt_is_ignored(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.finish(error="no route", retry_in=0.0)
    lab.advance(7)
    lab.finish(0, error="late")
    assert [(r.outcome, r.attempts) for r in lab.core.catalog.rejoins()] == [(Outcome.RUNNING, 2)]


def test_a_stream_that_ends_during_a_rejoin_is_made_up_for_on_attach(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.detach()
    assert lab.core.counts().parked == 1
    lab.advance(1)
    lab.attach(session_id="s2")
    lab.advance(60)
    assert lab.start_times() == [1000.0, 1006.0]
    assert lab.starts[1][1].session_id == "s2"


def test_a_trailing_run_is_parked_when_the_stream_ends(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.neighbor_up(ago=-0.5)
    lab.advance(1)
    lab.answer(RejoinRequested("n"))
    lab.detach()
    lab.advance(60)
    assert lab.start_times() == [1000.0]
    lab.attach(session_id="s2")
    assert lab.start_times() == [1000.0, 1061.0]


def test_the_end_of_a_replaced_stream_detaches_nobody(lab: Lab) -> None:
    lab.attach(session_id="old")
    lab.attach(session_id="new")
    lab.detach(session_id="old")
    assert lab.core.counts().attached == 1


def test_neighbour_churn_alone_starts_nothing(lab: Lab) -> None:
    lab.attach()
    for _ in range(50):
        lab.neighbor_up()
        lab.handle(NeighborChanged("n", "a", "p", False, lab.now))
        lab.advance(0.1)
    lab.advance(600)
    assert lab.starts == []


def shown_neighbors(lab: Lab) -> int:
    return next(lab.core.catalog.stores()).nodes[0].neighbors


def test_no_more_neighbours_are_remembered_than_a_report_may_name(lab: Lab) -> None:
    lab.attach()
    for number in range(NEIGHBORS + 1):
        lab.neighbor_up(f"p{number}")
    assert shown_neighbors(lab) == NEIGHBORS
    lab.handle(NeighborChanged("n", "a", f"p{NEIGHBORS}", False, lab.now))
    assert shown_neighbors(lab) == NEIGHBORS
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.neighbor_up("one more")
    assert [rejoin.outcome for rejoin in lab.core.catalog.rejoins()] == [Outcome.VERIFIED]


def test_the_neighbours_of_a_lost_stream_are_forgotten_but_not_that_one_lived(lab: Lab) -> None:
    lab.attach()
    lab.neighbor_up()
    lab.detach()
    assert shown_neighbors(lab) == 0
    suspicion = RejoinRequested("n", cause=Cause.SUSPICION)
    assert kinds(lab.answer(suspicion)) == [DecisionKind.SKIPPED]
    lab.advance(lab.parameters.fresh)
    assert kinds(lab.answer(suspicion)) == [DecisionKind.PARKED]


def test_bootstrap_peers_are_the_freshest_that_are_not_heard_anyway(lab: Lab) -> None:
    lab.handle(NodeAttached("p1", "s1", ("a",), addresses=("192.0.2.1:1",)))
    lab.attach()
    heard = {f"p{i}": lab.now - i for i in range(1, 6)}
    lab.handle(LivenessReported("n", "a", heard, {"p2": lab.now - 2}))
    lab.advance(1)
    lab.answer(RejoinRequested("n"))
    assert [peer.peer_id for peer in lab.starts[0][1].bootstrap] == ["p1", "p2", "p3"]
    assert lab.starts[0][1].bootstrap[0].addresses == ("192.0.2.1:1",)


def test_the_global_limit_delays_and_shares_fairly(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(rate=1.0, burst=2))
    lab.attach("big", *(f"s{i}" for i in range(6)), host_id="h1")
    lab.attach("small", "s0", host_id="h2")
    answer = lab.answer(NetworkChanged("h1"))
    assert kinds(answer) == [DecisionKind.STARTED] * 2 + [DecisionKind.SCHEDULED] * 4
    assert [d.rule for d in answer.decisions[2:]] == [Rule.GLOBAL_LIMIT] * 4
    assert answer.decisions[2].start_at == pytest.approx(1001.0)
    lab.answer(NetworkChanged("h2"))
    lab.advance(60)
    order = [start.node_id for _, start in lab.starts if start.causes != (Cause.ASKED,)]
    assert len(order) == 7
    assert order.index("small") == 3


def test_within_a_node_the_urgent_go_first(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(rate=1.0, burst=1))
    lab.attach("n", "a", "b", "c", "d", host_id="h")
    lab.answer(RejoinRequested("n", ("a", "b", "c"), Cause.SUSPICION))
    lab.answer(RejoinRequested("n", ("d",)))
    lab.answer(RejoinRequested("n", ("c",)))
    lab.advance(60)
    first = [start.store_id for _, start in lab.starts if start.attempt == 1]
    assert first == ["a", "d", "c", "b"]


def test_a_full_queue_refuses_and_changes_nothing(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(queue_limit=3))
    lab.attach("n", "a", "b")
    lab.detach()
    lab.answer(RejoinRequested("n"))
    before = (lab.core.counts(), list(lab.core.catalog.rejoins()))
    for event in (RejoinRequested("x", ("a", "b")), NetworkChanged("", ("x", "y")), RejoinRequested("x", ("a", "b"))):
        effects = lab.handle(event)
        assert [type(effect) for effect in effects] == [RefuseTrigger]
    assert (lab.core.counts(), list(lab.core.catalog.rejoins())) == before
    assert kinds(lab.answer(RejoinRequested("n"))) == [DecisionKind.PARKED] * 2
    lab.attach("m", "a")
    assert kinds(lab.answer(RejoinRequested("m"))) == [DecisionKind.STARTED]


def test_stores_that_a_trigger_makes_known_need_places_too(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(queue_limit=3))
    lab.answer(RejoinRequested("x", ("a",)))
    assert [type(effect) for effect in lab.handle(RejoinRequested("x", ("b", "c", "d")))] == [RefuseTrigger]
    assert lab.core.counts().parked == 1


def test_a_full_book_of_nodes_lets_idle_ones_go_and_refuses_beyond(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(node_limit=2))
    lab.attach("n1")
    lab.attach("n2")
    assert isinstance(lab.attach("n3")[0], RefuseNode)
    assert isinstance(lab.handle(RejoinRequested("n3"))[0], RefuseTrigger)
    lab.detach("n1")
    assert isinstance(lab.attach("n3")[0], AcceptNode)
    assert [node.node_id for node in next(lab.core.catalog.stores()).nodes] == ["n2", "n3"]


def test_an_idle_node_goes_however_many_keep_something_parked(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(node_limit=50, park_time=60.0))
    for number in range(50):
        lab.attach(f"n{number}", host_id="h" if number < 49 else "")
        lab.detach(f"n{number}")
    for _ in range(5):
        lab.handle(NetworkChanged("h"))
        lab.advance(30)
    assert isinstance(lab.attach("new")[0], AcceptNode)
    lab.detach("new")
    lab.handle(RejoinRequested("new"))
    assert isinstance(lab.attach("newer")[0], RefuseNode)
    lab.advance(61)
    assert isinstance(lab.attach("newer")[0], AcceptNode)


@pytest.mark.parametrize("node_ids", [("n1", "new"), ("new", "n1")], ids=str)
def test_no_node_that_a_change_names_goes_for_another(
    lab_with: Callable[[Parameters], Lab], node_ids: tuple[str, ...]
) -> None:
    lab = lab_with(Parameters(node_limit=1))
    lab.attach("n1", "a")
    lab.detach("n1")
    assert isinstance(lab.handle(NetworkChanged("", node_ids))[0], RefuseTrigger)
    lab = lab_with(Parameters(node_limit=2))
    for node_id in ("n1", "idle"):
        lab.attach(node_id, "a")
        lab.detach(node_id)
    decided = {one.node_id: one.store_id for one in lab.answer(NetworkChanged("", node_ids)).decisions}
    assert decided == {"n1": "a", "new": ""}


def test_every_rejoin_can_be_listed_with_the_reason_of_each_trigger(lab: Lab) -> None:
    lab.attach(host_id="h")
    lab.answer(NetworkChanged("h", generation=1, request_id="q1"))
    lab.answer(NetworkChanged("h", generation=1))
    lab.answer(RejoinRequested("n"))
    trailing, leading = lab.core.catalog.rejoins()
    assert [(t.kind, t.rule, t.request_id) for t in leading.triggers] == [
        (DecisionKind.STARTED, Rule.LEADING_EDGE, "q1"),
        (DecisionKind.DUPLICATE, Rule.KNOWN_GENERATION, ""),
    ]
    assert [(t.cause, t.kind) for t in trailing.triggers] == [(Cause.MANUAL, DecisionKind.SCHEDULED)]
    assert list(lab.core.catalog.rejoins(cause=Cause.NETWORK_CHANGE)) == [leading]
    assert list(lab.core.catalog.rejoins(outcome=Outcome.WAITING)) == [trailing]
    assert list(lab.core.catalog.rejoins(before=trailing.rejoin_id)) == [leading]
    assert list(lab.core.catalog.rejoins(node_id="m")) == []


def test_triggers_kept_with_a_rejoin_are_bounded(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n"))
    for _ in range(100):
        lab.answer(RejoinRequested("n"))
    trailing = next(lab.core.catalog.rejoins())
    assert (len(trailing.triggers), trailing.trigger_count) == (16, 100)
    assert trailing.triggers[0].kind is DecisionKind.SCHEDULED


def test_ended_rejoins_are_forgotten_beyond_their_number(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(history_limit=5))
    lab.attach()
    for _ in range(10):
        lab.answer(RejoinRequested("n", ("unknown",)))
    assert len(list(lab.core.catalog.rejoins())) == 5


def test_triggers_for_nothing_do_not_flush_what_was_done_out_of_the_history(
    lab_with: Callable[[Parameters], Lab],
) -> None:
    lab = lab_with(Parameters(history_limit=5))
    lab.attach()
    done = lab.answer(RejoinRequested("n")).decisions[0].rejoin_id
    lab.advance(1.0)
    lab.neighbor_up()
    for _ in range(50):
        lab.answer(RejoinRequested("n", ("unknown",)))
    rejoin = lab.core.catalog.rejoin(done)
    assert rejoin is not None
    assert rejoin.outcome is Outcome.VERIFIED


def test_a_request_id_names_one_request(lab: Lab) -> None:
    """With another payload, or through the other call, its sender would take the first answer for its own."""
    lab.attach("n", "a", "b")
    lab.answer(RejoinRequested("n", ("a",), request_id="q"))
    others: list[Event] = [RejoinRequested("n", ("b",), request_id="q"), NetworkChanged("", ("n",), request_id="q")]
    for other in others:
        assert any(isinstance(effect, RefuseReuse) for effect in lab.handle(other))
    assert lab.answer(RejoinRequested("n", ("a",), request_id="q")).replayed
    assert len(lab.starts) == 1


def test_reports_of_a_node_that_never_registered_name_a_bounded_number_of_stores(lab: Lab) -> None:
    for number in range(138):
        lab.handle(LivenessReported("stranger", f"s{number}"))
    assert len(lab.core.deciding.registry.store_ids("stranger")) == 128


def test_a_trigger_of_a_node_that_nobody_knows_is_refused_unless_it_may_wait(lab: Lab) -> None:
    refused = lab.handle(RejoinRequested("nobody", ("a",), park=False))
    assert [type(effect) for effect in refused] == [RefuseUnknown]
    assert lab.answer(RejoinRequested("nobody", ("a",))).decisions
