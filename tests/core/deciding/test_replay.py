"""Snapshot and log give the same deciding state: against random schedules, cut and restored at random moments."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, get_type_hints

import pytest
from gossipcontrol.server.core import codec
from gossipcontrol.server.core.codec import resolve
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.capture import EACH
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.record import StoreRecord
from gossipcontrol.server.core.deciding.registry import Host, Node, Slot, Store
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.decision import Capability, Cause, DecisionKind, Outcome, Rung
from gossipcontrol.server.core.effect import AdviseRestart, Effect, StartRejoin
from gossipcontrol.server.core.event import (
    AdviceOutdated,
    Event,
    ForgetRequested,
    LivenessReported,
    NodeAttached,
    RejoinRequested,
    ServiceStarted,
    TimePassed,
)
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.slices import finish
from gossipcontrol.server.core.turn import Fact, Turn
from gossipcontrol.server.state.effects_checksum import checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.deciding.test_property import NODES, Action, Schedule, actions, parameters
from tests.kit.core_lab import Lab


class LoggingLab(Lab):
    """Keeps the facts of every event, as a log would."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log: list[Fact] = []
        self.checksums: dict[int, int] = {}
        """Of the effects of each turn, by the length of the log after it."""

    def turn(self, event: Event) -> Turn:
        turn = super().turn(event)
        if facts := [fact for fact in turn.facts if isinstance(fact, Fact)]:
            self.log += facts
            self.checksums[len(self.log)] = checksum(turn.effects)
        return turn


class LoggedSchedule(Schedule):
    def __init__(self, chosen: Parameters) -> None:
        super().__init__(chosen)
        self.lab: LoggingLab = LoggingLab(chosen)


def without_liveness(record: StoreRecord) -> StoreRecord:
    nodes = tuple(dataclasses.replace(node, neighbors=0, reported_at=None) for node in record.nodes)
    return dataclasses.replace(record, nodes=nodes, peer_count=0)


def shown(core: Core) -> dict[str, Any]:
    """Everything of the deciding state that can be seen from outside."""
    return {
        "counts": dataclasses.replace(core.counts(), peers=0),
        "rejoins": list(core.catalog.rejoins()),
        "stores": [without_liveness(store) for store in core.catalog.stores()],
        "deadline": core.deciding.next_deadline(),
        "saved": core.save(),
    }


def restored(chosen: Parameters, snapshot: str | None, log: Sequence[Fact]) -> Core:
    core = Core(CoreParameters(deciding=chosen), id_prefix="t")
    if snapshot is not None:
        core.load(json.loads(snapshot))
    for fact in log:
        core.replay(fact)
    return core


def checksums(chosen: Parameters, run: LoggingLab) -> dict[int, int]:
    """Of the effects that the facts of each turn have in a replay."""
    core, found, effects = Core(CoreParameters(deciding=chosen), id_prefix="t"), dict[int, int](), list[Effect]()
    for number, fact in enumerate(run.log, 1):
        effects += core.replay(fact)
        if number in run.checksums:
            found[number] = checksum(effects)
            effects.clear()
    return found


def future(core: Core, now: float) -> list[list[Effect]]:
    """What a core does from now on, as every node asks for a rejoin, attaches again and time passes."""
    effects: list[list[Effect]] = []

    def handle(event: Event, at: float) -> None:
        effects.append(core.handle(event, at).effects)

    for number in range(8):
        for node_id in NODES:
            handle(RejoinRequested(node_id, request_id=f"{node_id}{number}"), now)
        for node_id in NODES if number == 3 else ():
            handle(NodeAttached(node_id, "late", ("a", "b")), now)
        now += 2.5
        while (deadline := core.deciding.next_deadline()) is not None and deadline <= now:
            handle(TimePassed(), max(deadline, now - 2.5))
    return effects


@given(parameters, actions, actions)
@settings(max_examples=300, deadline=None)
def test_a_snapshot_and_the_log_after_it_give_the_same_state(
    chosen: Parameters, before: list[Action], after: list[Action]
) -> None:
    run = LoggedSchedule(chosen)
    run.run(before)
    snapshot, captured, cut = json.dumps(run.lab.core.save()), run.lab.core.capture(), len(run.lab.log)
    run.run(after)
    assert json.dumps(resolve(captured)) == snapshot, "what was captured changes no more"
    from_snapshot = restored(chosen, snapshot, run.lab.log[cut:])
    from_log = restored(chosen, None, run.lab.log)
    assert shown(from_snapshot) == shown(run.lab.core)
    assert shown(from_log) == shown(run.lab.core)
    assert checksums(chosen, run.lab) == run.lab.checksums, "whoever replays finds the same effects"
    assert future(from_snapshot, run.lab.now) == future(from_log, run.lab.now)


@given(parameters, actions, st.lists(actions, max_size=5), actions)
@settings(max_examples=300, deadline=None)
def test_a_snapshot_in_slices_is_that_of_its_first_slice_whatever_happens_between_them(
    chosen: Parameters, before: list[Action], between: list[list[Action]], after: list[Action]
) -> None:
    run = LoggedSchedule(chosen)
    run.run(before)
    snapshot, slices, cut = json.dumps(run.lab.core.save()), run.lab.core.capture_slices(), len(run.lab.log)
    next(slices)
    for some in between:
        run.run(some)
        next(slices)
    assert json.dumps(resolve(finish(slices))) == snapshot
    run.run(after)
    assert shown(restored(chosen, snapshot, run.lab.log[cut:])) == shown(run.lab.core)


def test_a_snapshot_that_nobody_wants_any_longer_leaves_nothing_behind() -> None:
    lab = LoggingLab()
    lab.attach("n", "a")
    slices = lab.core.capture_slices()
    next(slices)
    assert "__setattr__" in vars(Slot)
    slices.close()
    assert "__setattr__" not in vars(Slot)


def test_a_slice_of_a_snapshot_reads_a_bounded_number_of_objects() -> None:
    lab = LoggingLab()
    for number in range(30):
        lab.attach(f"n{number}", *(f"s{store}" for store in range(20)))
    assert len(list(lab.core.capture_slices())) >= 30 * 20 / EACH


@given(parameters, actions)
@settings(max_examples=150, deadline=None)
def test_a_restored_core_decides_as_the_original_does(chosen: Parameters, schedule: list[Action]) -> None:
    run = LoggedSchedule(chosen)
    # Bootstrap peers come from liveness, which is not restored: none is reported here, and who attached is forgotten.
    run.run([action for action in schedule if action[0] not in ("meet", "hear")])
    for store in list(run.lab.core.catalog.stores()):
        run.lab.core.liveness.forget_store(store.store_id)
    again = restored(chosen, json.dumps(run.lab.core.save()), ())
    assert future(again, run.lab.now) == future(run.lab.core, run.lab.now)


def test_a_new_run_parks_what_ran_and_keeps_ids_unique() -> None:
    lab = LoggingLab()
    lab.attach("n", "a")
    started = lab.answer(RejoinRequested("n", ("a",), request_id="q")).decisions[0].rejoin_id
    engine = restored(lab.parameters, json.dumps(lab.core.save()), ())
    engine.handle(ServiceStarted("second"), lab.now + 1)
    assert (engine.counts().running, engine.counts().parked, engine.counts().attached) == (0, 1, 0)
    effects = engine.handle(NodeAttached("n", "s2", ("a", "b")), lab.now + 2).effects
    assert [type(effect).__name__ for effect in effects] == ["AcceptNode"], "the window of its start is not over"
    assert engine.deciding.next_deadline() == lab.now + lab.parameters.window
    engine.handle(RejoinRequested("n", ("b",)), lab.now + 2)
    assert [rejoin.rejoin_id for rejoin in engine.catalog.rejoins()] == ["second-2", started]
    assert [rejoin.rejoin_id for rejoin in engine.catalog.rejoins(before="second-2")] == [started]


@pytest.mark.parametrize("away", [1.0, 6.0, 60.0])
def test_what_falls_due_while_the_service_is_away_waits_for_an_agent(away: float) -> None:
    lab = LoggingLab()
    lab.attach("n", "ran", "waited")
    lab.report_unheard("q", store_id="ran")
    lab.answer(RejoinRequested("n", ("waited",)))
    lab.neighbor_up(store_id="waited")
    lab.answer(RejoinRequested("n"))
    lab.now += away
    assert not [one for one in lab.handle(ServiceStarted("second")) if isinstance(one, (StartRejoin, AdviseRestart))]
    lab.advance(60)
    assert (lab.core.counts().parked, len(lab.announcements)) == (2, 1)
    lab.attach("n", "ran", "waited", session_id="s2")
    lab.advance(6)
    late = [(start.store_id, start.attempt) for _, start in lab.starts if start.session_id == "s2"]
    assert late == [("ran", 2), ("waited", 1)]
    replays(lab)


def test_what_was_refused_or_answered_before_leaves_no_fact() -> None:
    lab = LoggingLab(Parameters(queue_limit=1))
    lab.answer(RejoinRequested("n", request_id="q"))
    lab.answer(RejoinRequested("n", request_id="q"))
    lab.handle(RejoinRequested("m"))
    assert len(lab.log) == 1


def replays(lab: LoggingLab) -> None:
    """Whether the log alone gives the state that there is."""
    assert shown(restored(lab.parameters, None, lab.log)) == shown(lab.core)


def test_a_suspicion_that_fresh_neighbours_refuted_is_refuted_again() -> None:
    lab = LoggingLab()
    lab.attach()
    lab.neighbor_up()
    kinds = [lab.answer(RejoinRequested("n", cause=Cause.SUSPICION)).decisions[0].kind for _ in range(3)]
    assert kinds == [DecisionKind.SKIPPED] * 3
    assert len(list(lab.core.catalog.rejoins())) == 1
    replays(lab)


def test_a_suspicion_that_was_refuted_while_it_waited_is_refuted_again() -> None:
    lab = LoggingLab()
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION))
    lab.advance(1)
    lab.neighbor_up()
    lab.advance(10)
    assert [rejoin.outcome for rejoin in lab.core.catalog.rejoins()] == [Outcome.SKIPPED, Outcome.VERIFIED]
    replays(lab)


def test_evidence_survives_a_snapshot_and_a_replay() -> None:
    lab = LoggingLab()
    lab.attach()
    lab.answer(RejoinRequested("n", cause=Cause.SUSPICION, evidence="3 writes by n"))
    replays(lab)
    again = restored(lab.parameters, json.dumps(lab.core.save()), ())
    assert [one.triggers[0].evidence for one in again.catalog.rejoins()] == ["3 writes by n"]


def test_a_bridge_survives_a_crash_between_the_trigger_and_its_start() -> None:
    lab = LoggingLab()
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n", cause=Cause.PARTITION, evidence="notes falls apart", bridge=("far", "further")))
    log = len(lab.log)
    saved = json.dumps(lab.core.save())
    lab.advance(10)
    trailing = next(iter(lab.core.catalog.rejoins()))
    assert trailing.bootstrap == ("far", "further")
    replays(lab)
    assert next(iter(restored(lab.parameters, saved, lab.log[log:]).catalog.rejoins())) == trailing


def test_a_bridge_is_read_back_from_the_log() -> None:
    event = RejoinRequested("n", ("a",), Cause.PARTITION, bridge=("far", "further"))
    assert codec.decode(json.loads(json.dumps(codec.encode(event))), RejoinRequested) == event
    assert codec.decode({"node_id": "n"}, RejoinRequested).bridge == ()


def test_that_all_others_were_away_is_read_back_from_the_log() -> None:
    lab = LoggingLab()
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.SYNC_WITH_PEER})))
    lab.handle(LivenessReported("n", "a", {"q": lab.now}))
    lab.advance(100)
    lab.answer(RejoinRequested("n", ("a",), Cause.SUSPICION))
    lab.advance(60)
    assert [rejoin.outcome for rejoin in lab.core.catalog.rejoins()][:1] == [Outcome.UNVERIFIED]
    replays(lab)


def test_a_snapshot_from_before_there_was_evidence_is_read() -> None:
    lab = LoggingLab()
    lab.attach()
    lab.answer(RejoinRequested("n", request_id="q"))
    saved = lab.core.save()
    trigger = saved["history"]["rejoins"][0]["first_trigger"][0]
    assert trigger.pop() == "", "nor who asked"
    assert trigger.pop() == Rung.REJOIN, "nor did a trigger begin with a stronger rung"
    assert trigger.pop() is False, "nor did it forbid one"
    assert trigger.pop() == []
    assert trigger.pop() == ""
    again = restored(lab.parameters, json.dumps(saved), ())
    assert [one.triggers[0].evidence for one in again.catalog.rejoins()] == [""]


def test_a_late_proof_is_taken_again() -> None:
    lab = LoggingLab()
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.RESUBSCRIBE})))
    lab.report_unheard("q")
    lab.answer(RejoinRequested("n"))
    lab.advance(lab.parameters.verify_timeout + 0.1)
    assert [rejoin.outcome for rejoin in lab.core.catalog.rejoins()] == [Outcome.WAITING]
    lab.neighbor_up()
    assert [rejoin.outcome for rejoin in lab.core.catalog.rejoins()] == [Outcome.VERIFIED]
    replays(lab)


def test_an_advice_that_life_outdated_stays_outdated() -> None:
    lab = LoggingLab()
    lab.attach()
    lab.report_unheard("q")
    lab.answer(RejoinRequested("n"))
    lab.advance(60)
    replays(lab)
    before = len(lab.log)
    lab.neighbor_up()
    assert [fact.event for fact in lab.log[before:]] == [AdviceOutdated("n", "a")]
    replays(lab)


LINKS: dict[type[Any], set[str]] = {
    Slot: {
        "node",
        "store",
        "running",
        "waiting",
        "awaiting_recovery",
        "asking",
        "neighbors",
        "alive_at",
        "reported_at",
    },
    Node: {"slots", "parked"},
    Host: {"nodes", "parked"},
    Store: {"slots"},
    Rejoin: {"state"},
}
"""Fields that a snapshot keeps as links, or leaves out as liveness."""


@pytest.mark.parametrize("kind", LINKS, ids=lambda kind: kind.__name__)
def test_every_field_of_the_books_can_be_saved(kind: type[Any]) -> None:
    """A new field whose type the codec does not know, or that is a link, fails here, not in an operator's hands."""
    hints = get_type_hints(kind)
    for one in dataclasses.fields(kind):
        if one.name not in LINKS[kind]:
            codec.check(hints[one.name])


ATTRIBUTES = {
    "Engine": "_parameters registry _history _reads _output _scheduler _lifecycle _policy _answers intake _explainer "
    "catalog _handlers handled_at clearance",
    "Registry": "_limit liveness nodes hosts stores attached store_order places stranger_places "
    "_dropped_starts _idle _named strangers strange_slots strange_stores strange_names neighbors "
    "matched returning",
    # When it looks for what aged out is no part of what is decided: what it finds is logged.
    "Clearance": "_registry _history _scheduler _output _look_at _left _idle_age _look_every _started_at",
    "History": "_prefix _limit _age _rejoins _blocks _block_order _by_request _ended _skipped _ends _count triggers",
    "Catalog": "_registry _history",
    "Explainer": "_park_time _registry _history _policy _answers _expansion",
    "Expansion": "_stores_per_node _registry _policy _answers is_pool_full",
    "Policy": "_parameters _history _reads _scheduler _lifecycle reserved",
    "Scheduler": (
        "_parameters _sizes _registry _history _reads _output admission lifecycle _bootstrap _probation _starts _asker"
    ),
    "PeerAsker": "_registry _policy _reads _output",
    "Lifecycle": "_admission _registry _history _output _timers _release wake_at waiting parked running",
    "Probation": "_time _lifecycle",
    "Bootstrap": "_registry _fanout _spread _fresh _load",
    "NamingRate": "_most _named",
    "Intake": "_sizes _registry _history _policy _answers _expansion _output _rest has_more",
    "Answers": "_requests _generations",
    "Admission": "_limiter _queue _at_once _room _passed _to_pass",
    "Gcra": "interval _tolerance _arrival_at",
    "FairQueue": "_nodes _order _pushes length",
    "Timers": "_heap _former _pushes _stood",
    "DedupeCache": "_limit _age _room _size _entries _order _replaced taken",
    "RecordedReads": "answers _recorded",
    # Derived from the ids that are saved.
    "SortedIds": "_chunks _changed",
}
"""All state there is: each is saved, derived from what is saved, a parameter, or liveness. Extend ``save`` first."""


def test_no_part_of_the_core_has_state_that_snapshots_do_not_know() -> None:
    seen: dict[str, set[str]] = {}
    found: list[object] = [Core().deciding]
    while found:
        part = found.pop()
        kind = type(part)
        if kind is Liveness:
            continue
        if kind.__module__.startswith("gossipcontrol.server.core") and hasattr(part, "__dict__"):
            if kind.__name__ not in seen:
                found += vars(part).values()
            seen[kind.__name__] = set(vars(part))
    assert seen == {name: set(attributes.split()) for name, attributes in ATTRIBUTES.items()}


def test_a_snapshot_in_slices_keeps_what_was_forgotten_or_moved_between_them() -> None:
    lab = LoggingLab()
    for node_id in ("gone", "moved"):
        lab.attach(node_id, "a", "b", host_id="h")
    lab.detach("gone")
    lab.attach("moved", "a", "b", host_id="g")
    snapshot, slices = json.dumps(lab.core.save()), lab.core.capture_slices()
    next(slices)
    lab.handle(ForgetRequested("gone"))
    lab.attach("moved", "a", "c", host_id="h", session_id="s2")
    lab.attach("new", "a", host_id="g")
    assert json.dumps(resolve(finish(slices))) == snapshot
