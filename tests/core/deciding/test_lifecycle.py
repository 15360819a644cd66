"""The transition table: what may happen to a rejoin, what holds it meanwhile, and its picture in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from gossipcontrol.server.core.deciding.lifecycle import OUTCOMES, TRANSITIONS, Move, diagram
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.rejoin import ENDED, State
from gossipcontrol.server.core.decision import Cause, Outcome
from gossipcontrol.server.core.event import NodeAttached, NodeDetached, RejoinRequested
from hypothesis import given, settings

from tests.core.deciding.test_property import Action, Schedule, actions, parameters
from tests.kit.core_lab import Lab

DOCUMENT = Path(__file__).parents[3] / "docs" / "algorithm" / "deciding.md"
BEGIN, END = "<!-- rejoin-lifecycle:begin -->", "<!-- rejoin-lifecycle:end -->"


def test_every_state_is_reached_and_every_move_is_made() -> None:
    targets = {target for moves in TRANSITIONS.values() for target in moves.values()}
    assert targets | {State.NEW} == set(State)
    assert {move for moves in TRANSITIONS.values() for move in moves} == set(Move)


def test_a_rejoin_that_ended_never_moves_again() -> None:
    assert {OUTCOMES[state] for state in State if state not in TRANSITIONS} == ENDED


def test_every_outcome_of_the_contract_is_that_of_a_state() -> None:
    assert set(OUTCOMES) == set(State) - {State.NEW}
    assert set(OUTCOMES.values()) == set(Outcome)


def test_the_picture_in_the_documentation_is_drawn_from_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    drawn = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert drawn.strip() == "\n".join(["```mermaid", *diagram(), "```"])


@given(parameters, actions)
@settings(max_examples=200, deadline=None)
def test_what_holds_a_rejoin_and_what_counts_it_follow_from_its_state(
    chosen: Parameters, schedule: list[Action]
) -> None:
    run = Schedule(chosen)
    for action in schedule:
        run.run([action])
        check_books(run.lab)


def check_books(lab: Lab) -> None:
    """Slots, nodes and hosts hold exactly the rejoins that are in the state for it; the counters count them."""
    registry = lab.core.deciding.registry
    slots = [slot for node in registry.nodes.values() for slot in node.slots.values()]
    waiting = [slot.waiting for slot in slots if slot.waiting is not None]
    running = [slot.running for slot in slots if slot.running is not None]
    parked = [one.parked for one in registry.nodes.values() if one.parked is not None]
    parked += [one.parked for one in registry.hosts.values() if one.parked is not None]
    assert {one.state for one in waiting} <= {State.WAITING, State.QUEUED, State.PARKED}
    assert {one.state for one in running} <= {State.RUNNING}
    assert {one.state for one in parked} <= {State.PARKED}
    held = [slot.awaiting_recovery for slot in slots if slot.awaiting_recovery is not None]
    assert {one.state for one in held} <= {State.AWAITING_RECOVERY}
    asking = [slot.asking for slot in slots if slot.asking is not None]
    assert {one.state for one in asking} <= {State.ASKING}
    counts = lab.core.counts()
    assert counts.running == len(running)
    assert counts.parked == len(parked) + sum(one.state is State.PARKED for one in waiting)
    assert counts.queued == sum(one.state is not State.PARKED for one in waiting)
    assert all(one.deadline is not None for one in (*running, *parked, *held, *asking))
    assert all((one.deadline is None) is (one.state is State.QUEUED) for one in waiting)


def test_a_move_that_the_table_does_not_have_is_a_fault_of_the_program() -> None:
    lab = Lab()
    lab.attach()
    lab.answer(RejoinRequested("n"))
    slot = lab.core.deciding.registry.find_slot("n", "a")
    assert slot is not None
    assert slot.running is not None
    lifecycle = lab.core.deciding._scheduler.lifecycle  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(KeyError):
        lifecycle.end(slot.running, Move.EXPIRE, "it runs", lab.now)


def test_the_end_of_a_stream_that_was_replaced_changes_nothing() -> None:
    lab = Lab()
    lab.attach()
    lab.handle(NodeAttached("n", "s2", ("a",)))
    lab.answer(RejoinRequested("n", cause=Cause.RESUME))
    before = lab.core.save()
    turn = lab.turn(NodeDetached("n", "s"))
    assert (turn.effects, turn.facts, turn.findings) == ([], [], [])
    assert lab.core.save() == before
    assert lab.core.can_ask("n", "a")
