"""What goes before its time: nodes that age out, what operators have forgotten, rejoins that they cancel."""

from __future__ import annotations

from gossipcontrol.server.core.deciding.clearance import GRACE, LOOK_EVERY
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.registry import STRANGER_PLACES, STRANGER_STORES
from gossipcontrol.server.core.decision import DecisionKind, Outcome
from gossipcontrol.server.core.effect import (
    AnnounceRejoin,
    ForgetSlots,
    RefuseNode,
    RefuseState,
    RefuseTrigger,
    RefuseUnknown,
)
from gossipcontrol.server.core.event import (
    CancelRequested,
    ForgetRequested,
    LivenessReported,
    NetworkChanged,
    RejoinRequested,
    ServiceStarted,
)

from tests.kit.core_lab import Lab

IDLE_AGE = Parameters().idle_age


def known(lab: Lab) -> set[str]:
    return set(lab.core.deciding.registry.nodes)


def test_a_node_of_which_nobody_hears_for_a_day_is_forgotten() -> None:
    lab = Lab()
    lab.attach("gone", "a")
    lab.attach("here", "a")
    lab.handle(LivenessReported("reporter", "a"))
    lab.detach("gone")
    lab.advance(IDLE_AGE / 2)
    lab.handle(LivenessReported("reporter", "a"))
    lab.advance(IDLE_AGE / 2 + LOOK_EVERY)
    assert known(lab) == {"here", "reporter"}
    lab.advance(IDLE_AGE / 2 + LOOK_EVERY)
    assert known(lab) == {"here"}
    assert lab.core.counts().stores == 1


def test_nothing_ages_out_before_nodes_could_report_to_a_new_run() -> None:
    lab = Lab()
    lab.handle(LivenessReported("reporter", "a"))
    lab.advance(IDLE_AGE - 10)
    lab.handle(ServiceStarted("next"))
    lab.advance(GRACE - 1)
    assert known(lab) == {"reporter"}
    lab.advance(LOOK_EVERY + 1)
    assert known(lab) == set()


def test_what_waits_for_a_node_ends_when_an_operator_has_it_forgotten() -> None:
    lab = Lab()
    lab.attach("n", "a", "b")
    lab.handle(RejoinRequested("n", ("a",)))
    assert lab.handle(ForgetRequested("n")) == [RefuseState("the agent of node n is attached: stop it first")]
    lab.detach("n")
    *announced, done = lab.handle(ForgetRequested("n"))
    assert [one.outcome for one in announced if isinstance(one, AnnounceRejoin)] == [Outcome.SKIPPED]
    assert isinstance(done, ForgetSlots)
    assert (done.node_count, done.slot_count) == (1, 2)
    assert known(lab) == set()
    assert lab.handle(ForgetRequested("n")) == [RefuseUnknown("node n")]
    assert lab.core.counts().parked == 0


def test_a_store_is_forgotten_where_no_agent_has_it() -> None:
    lab = Lab()
    lab.attach("n", "a")
    lab.handle(LivenessReported("m", "a"))
    lab.handle(LivenessReported("m", "junk"))
    assert isinstance(lab.handle(ForgetRequested(store_id="a"))[0], RefuseState)
    [done] = lab.handle(ForgetRequested(store_id="junk"))
    assert isinstance(done, ForgetSlots)
    assert (done.node_count, done.slot_count) == (0, 1)
    assert lab.handle(ForgetRequested("m", "junk")) == [RefuseUnknown("store junk of node m")]
    lab.handle(ForgetRequested("m", "a"))
    assert [store.store_id for store in lab.core.catalog.stores()] == ["a"]


def test_a_rejoin_is_cancelled_in_every_state_but_once_it_has_ended() -> None:
    lab = Lab()
    lab.attach("n", "a")
    ids = [lab.answer(RejoinRequested(node_id, ("a",))).decisions[0].rejoin_id for node_id in ("n", "n", "away")]
    assert len(set(ids)) == 3, "one runs, one waits for its window, one is parked"
    for rejoin_id in ids:
        lab.handle(CancelRequested(rejoin_id))
        rejoin = lab.core.catalog.rejoin(rejoin_id)
        assert rejoin is not None
        assert (rejoin.outcome, rejoin.detail) == (Outcome.SKIPPED, "an operator cancelled it")
        assert lab.handle(CancelRequested(rejoin_id)) == [RefuseState(f"rejoin {rejoin_id} has ended as SKIPPED")]
    assert lab.handle(CancelRequested("any-99")) == [RefuseUnknown("rejoin any-99")]
    counts = lab.core.counts()
    assert (counts.queued, counts.parked, counts.running) == (0, 0, 0)
    lab.advance(600)
    assert len(lab.start_times("n", "a")) == 1


def test_a_trigger_waits_for_an_unknown_node_only_if_it_asks_to() -> None:
    lab = Lab()
    assert lab.handle(RejoinRequested("n", park=False)) == [RefuseUnknown("node n")]
    assert lab.handle(NetworkChanged("", ("n",), park=False)) == [RefuseUnknown("node n")]
    assert known(lab) == set()
    [decision] = lab.answer(NetworkChanged("h", park=False)).decisions
    assert decision.kind is DecisionKind.PARKED, "no node is named"


def test_strangers_cannot_take_the_places_of_known_nodes() -> None:
    """494 kB of triggers for invented nodes once refused those of all others for ten minutes."""
    lab = Lab()
    lab.attach("n", "a")
    lab.handle(RejoinRequested("n", ("a",)))
    per_node = STRANGER_STORES
    for number in range(STRANGER_PLACES // per_node):
        lab.answer(RejoinRequested(f"x{number}", tuple(f"s{one}" for one in range(per_node))))
    assert isinstance(lab.handle(RejoinRequested("y", tuple(f"s{one}" for one in range(per_node))))[0], RefuseTrigger)
    [decision] = lab.answer(RejoinRequested("n", ("a",))).decisions
    assert decision.kind is DecisionKind.SCHEDULED
    assert lab.attach("x0", "s0"), "a stranger that registers is one no longer"
    assert lab.answer(RejoinRequested("y", ("s0",))).decisions[0].kind is DecisionKind.PARKED


def test_a_node_that_never_registered_has_few_stores() -> None:
    lab = Lab()
    for number in range(STRANGER_STORES):
        assert lab.handle(LivenessReported("m", f"s{number}")) == []
    [refused] = lab.handle(LivenessReported("m", "one more"))
    assert isinstance(refused, RefuseNode)
    assert lab.handle(LivenessReported("m", "s0")) == []
