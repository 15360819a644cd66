"""Foretelling: true, and without a trace; past decisions keep what they saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.rejoin import EVIDENCE
from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Rule
from gossipcontrol.server.core.effect import AnswerTrigger, RefuseReuse, RefuseTrigger
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested
from gossipcontrol.server.wire.reasons import explain_trigger
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.deciding.test_property import NODES, Action, Schedule, actions, parameters
from tests.kit.core_lab import Lab


class Foretelling(Schedule):
    """Asks before every trigger what will happen, and compares."""

    def trigger(self, event: NetworkChanged | RejoinRequested) -> None:
        foretold = self.lab.core.foretell(event, self.lab.now)
        known = {rejoin.rejoin_id for rejoin in self.lab.core.catalog.rejoins()}
        effects = self.lab.handle(event)
        if any(isinstance(effect, RefuseReuse) for effect in effects):
            assert foretold.is_reused
            return
        refused = [effect for effect in effects if isinstance(effect, RefuseTrigger)]
        if refused:
            assert foretold.retry_in == refused[0].retry_in
            return
        (answer,) = [effect for effect in effects if isinstance(effect, AnswerTrigger)]
        assert foretold.replayed == answer.replayed
        made = answer.decisions if answer.replayed else [without_new_id(one, known) for one in answer.decisions]
        assert [one.decision for one in foretold.explanations] == list(made)


def without_new_id(decision: Decision, known: set[str]) -> Decision:
    return decision if decision.rejoin_id in known else decision._replace(rejoin_id="")


small = st.builds(
    Parameters,
    rate=st.sampled_from((0.5, 200.0)),
    burst=st.sampled_from((1, 400)),
    park_time=st.sampled_from((5.0, 600.0)),
    queue_limit=st.sampled_from((2, 100_000)),
)


@given(small, actions, st.lists(st.sampled_from(NODES), max_size=3))
@settings(max_examples=400, deadline=None)
def test_what_is_foretold_is_what_happens(chosen: Parameters, schedule: list[Action], attached: list[str]) -> None:
    run = Foretelling(chosen)
    for node_id in attached:
        run.attach(node_id, 1)
    run.run(schedule)


@given(parameters, actions)
@settings(max_examples=200, deadline=None)
def test_asking_leaves_no_trace(chosen: Parameters, schedule: list[Action]) -> None:
    asked, left_alone = Schedule(chosen), Schedule(chosen)
    for action in schedule:
        for node_id in (*NODES, "unknown"):
            for cause in (Cause.MANUAL, Cause.SUSPICION):
                for stores in ((), ("a",), ("a", "z")):
                    asked.lab.core.foretell(RejoinRequested(node_id, stores, cause), asked.lab.now)
            asked.lab.core.foretell(NetworkChanged("", (node_id,), boot_id="b", generation=3), asked.lab.now)
        for host_id in ("h1", "h2", "unknown"):
            asked.lab.core.foretell(NetworkChanged(host_id, boot_id="b", generation=2), asked.lab.now)
        for one in (asked, left_alone):
            one.run([action])
    assert asked.lab.starts == left_alone.lab.starts
    assert asked.lab.announcements == left_alone.lab.announcements
    assert asked.accepted == left_alone.accepted
    assert asked.lab.core.counts() == left_alone.lab.core.counts()
    assert list(asked.lab.core.catalog.rejoins()) == list(left_alone.lab.core.catalog.rejoins())
    assert asked.lab.core.deciding.next_deadline() == left_alone.lab.core.deciding.next_deadline()


def test_a_forecast_shares_the_global_limit_among_its_own_stores(lab_with: Callable[[Parameters], Lab]) -> None:
    lab = lab_with(Parameters(rate=1.0, burst=2))
    lab.attach("n", "a", "b", "c", "d")
    told = [one.decision for one in lab.core.foretell(RejoinRequested("n"), lab.now).explanations]
    assert [one.kind for one in told] == [DecisionKind.STARTED] * 2 + [DecisionKind.SCHEDULED] * 2
    assert [one.start_at - lab.now for one in told] == [0.0, 0.0, 1.0, 2.0]


def test_past_triggers_keep_the_rule_and_what_it_saw(lab: Lab) -> None:
    lab.attach()
    lab.neighbor_up()
    lab.advance(3)
    lab.answer(RejoinRequested("n", request_id="q1"))
    lab.advance(2)
    lab.answer(RejoinRequested("n", request_id="q2"))
    lab.answer(RejoinRequested("n", request_id="q3"))
    lab.answer(RejoinRequested("n", cause=Cause.ISOLATED, request_id="q4"))
    skipped, trailing, leading = lab.core.catalog.rejoins()
    first, (second, third), fourth = leading.triggers[0], trailing.triggers, skipped.triggers[0]
    rules: Sequence[Rule] = [one.rule for one in (first, second, third, fourth)]
    assert rules == [Rule.LEADING_EDGE, Rule.WINDOW, Rule.WINDOW, Rule.FRESH_NEIGHBORS]
    assert (first.seen.attached, first.seen.alive_at, first.seen.started_at) == (True, 1000.0, float("-inf"))
    assert (second.seen.started_at, second.seen.waiting_id, second.seen.waiting) == (1003.0, "", 0)
    assert (third.seen.waiting_id, third.seen.waiting) == (trailing.rejoin_id, 1)
    assert list(lab.core.catalog.rejoins(request_id="q3")) == [trailing]
    assert lab.core.catalog.rejoin(leading.rejoin_id) == leading
    assert lab.core.catalog.rejoin("t-99") is None


def test_a_trigger_keeps_its_evidence_cut_to_what_is_kept(lab: Lab) -> None:
    lab.attach()
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION, evidence="3 writes by n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION, evidence="x" * 10_000))
    lab.answer(RejoinRequested("n"))
    trailing, leading = lab.core.catalog.rejoins()
    assert [one.evidence for one in leading.triggers] == ["3 writes by n"]
    assert [one.evidence for one in trailing.triggers] == ["x" * EVIDENCE, ""]
    assert "evidence: 3 writes by n; at that time:" in explain_trigger(leading.triggers[0])
    assert "evidence" not in explain_trigger(trailing.triggers[1])
