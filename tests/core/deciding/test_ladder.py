"""The ladder: which rung follows, and the advice at its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.server.core.decision import Capability, Cause, Outcome, Rung
from gossipcontrol.server.core.effect import AdviseRestart
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NodeAttached,
    NodeDetached,
    RejoinRequested,
    TimePassed,
)

from tests.kit.core_lab import Lab

BOTH = frozenset({Capability.REBIND, Capability.RESUBSCRIBE})


def advices(lab: Lab, event: Event, seconds: float) -> list[AdviseRestart]:
    """Let an event happen, then time pass; every advice on the way."""
    effects = lab.handle(event)
    until = lab.now + seconds
    while (deadline := lab.core.deciding.next_deadline()) is not None and deadline <= until:
        lab.now = deadline
        effects += lab.handle(TimePassed())
    lab.now = until
    found = [effect for effect in effects if isinstance(effect, AdviseRestart)]
    assert all("no neighbour and no message within" in advice.detail for advice in found)
    return found


@pytest.mark.parametrize(
    ("capabilities", "rungs"),
    [
        (frozenset[Capability](), [Rung.REJOIN]),
        (frozenset({Capability.REBIND}), [Rung.REJOIN, Rung.REBIND]),
        (frozenset({Capability.RESUBSCRIBE}), [Rung.REJOIN, Rung.RESUBSCRIBE]),
        (BOTH, [Rung.REJOIN, Rung.REBIND, Rung.RESUBSCRIBE]),
        (frozenset({Capability.SYNC_WITH_PEER}), [Rung.REJOIN]),
    ],
)
def test_rebind_comes_before_resubscribe_and_advice_at_the_end(
    lab: Lab, capabilities: frozenset[Capability], rungs: list[Rung]
) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=capabilities))
    lab.report_unheard("q", "r")
    (advice,) = advices(lab, RejoinRequested("n"), 600)
    assert [start.rung for _, start in lab.starts] == rungs
    assert (advice.node_id, advice.store_id, advice.rejoin_id) == ("n", "a", lab.starts[-1][1].rejoin_id)
    assert lab.announcements[-1][1].outcome is Outcome.UNVERIFIED


def test_a_restart_is_advised_once_per_episode_which_ends_with_a_proof(lab: Lab) -> None:
    lab.attach()
    lab.report_unheard("q")
    counts = [len(advices(lab, RejoinRequested("n"), 60)) for _ in range(3)]
    assert counts == [1, 0, 0]
    assert advices(lab, RejoinRequested("n"), 1) == []
    lab.neighbor_up()
    assert lab.announcements[-1][1].outcome is Outcome.VERIFIED
    lab.advance(60)
    assert len(advices(lab, RejoinRequested("n"), 60)) == 1


def test_a_sign_of_life_after_the_last_start_ends_the_episode_too(lab: Lab) -> None:
    lab.attach()
    lab.report_unheard("q")
    assert len(advices(lab, RejoinRequested("n"), 60)) == 1
    lab.neighbor_up(ago=61)
    assert advices(lab, RejoinRequested("n"), 60) == []
    lab.neighbor_up(ago=1)
    assert len(advices(lab, RejoinRequested("n"), 60)) == 1


# Peers that are away.


def leave(lab: Lab) -> None:
    lab.attach("q", session_id="t")
    lab.handle(NodeDetached("q", "t", left=True))


def fall_asleep(lab: Lab) -> None:
    lab.attach("q", session_id="t")
    lab.handle(LivenessReported("q", "a", going_to_sleep=True))
    lab.handle(NodeDetached("q", "t"))


def go_offline(lab: Lab) -> None:
    lab.handle(LivenessReported("n", "a", {"q": lab.now}))
    lab.advance(100)


@pytest.mark.parametrize("go_away", [leave, fall_asleep, go_offline])
@pytest.mark.parametrize("cause", [Cause.SUSPICION, Cause.ISOLATED])
def test_a_guess_climbs_no_ladder_while_all_others_are_away(
    lab: Lab, cause: Cause, go_away: Callable[[Lab], None]
) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=BOTH | {Capability.SYNC_WITH_PEER}))
    go_away(lab)
    lab.starts.clear()
    assert advices(lab, RejoinRequested("n", ("a",), cause), 600) == []
    assert [start.rung for _, start in lab.starts] == [Rung.REJOIN]
    ended = lab.announcements[-1][1]
    assert (ended.outcome, "no other peer of this store is online" in ended.detail) == (Outcome.UNVERIFIED, True)


@pytest.mark.parametrize("go_away", [leave, fall_asleep, go_offline])
@pytest.mark.parametrize("cause", [Cause.MANUAL, Cause.SUSPICION])
def test_no_restart_is_advised_because_peers_are_away(lab: Lab, cause: Cause, go_away: Callable[[Lab], None]) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=BOTH))
    go_away(lab)
    lab.starts.clear()
    assert advices(lab, RejoinRequested("n", ("a",), cause), 600) == []
    assert [start.rung for _, start in lab.starts] == [Rung.REJOIN, Rung.REBIND, Rung.RESUBSCRIBE]


def test_a_restart_is_advised_while_any_peer_is_there(lab: Lab) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=BOTH))
    leave(lab)
    lab.attach("p", session_id="u")
    lab.handle(LivenessReported("p", "a"))
    assert len(advices(lab, RejoinRequested("n", ("a",), Cause.MANUAL), 600)) == 1


# Rungs that are known to be in vain.


def first_rungs(lab: Lab, *capabilities: Capability, rejoin_only: bool = False, waits: bool = False) -> list[Rung]:
    """The rungs that follow a trigger whose first rung is to be RESUBSCRIBE; it may come while a rejoin waits."""
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset(capabilities)))
    lab.report_unheard("q")
    if waits:
        lab.handle(RejoinRequested("n", ("a",)))
        lab.handle(RejoinRequested("n", ("a",)))
        lab.starts.clear()
    event = RejoinRequested(
        "n", ("a",), Cause.ISOLATED, bridge=("q",), rejoin_only=rejoin_only, first_rung=Rung.RESUBSCRIBE
    )
    lab.handle(event)
    lab.advance(120)
    return [start.rung for _, start in lab.starts]


def test_a_trigger_may_begin_above_the_lowest_rung(lab: Lab) -> None:
    assert first_rungs(lab, *BOTH) == [Rung.RESUBSCRIBE]


def test_a_rejoin_that_waits_begins_where_a_trigger_that_shares_it_wants(lab: Lab) -> None:
    assert first_rungs(lab, *BOTH, waits=True)[0] is Rung.RESUBSCRIBE


def test_no_agent_is_asked_for_a_first_rung_that_it_cannot_carry_out(lab: Lab) -> None:
    assert first_rungs(lab, Capability.REBIND) == [Rung.REJOIN, Rung.REBIND]


def test_a_first_rung_does_not_override_that_only_a_rejoin_may_run(lab: Lab) -> None:
    assert first_rungs(lab, *BOTH, rejoin_only=True) == [Rung.REJOIN]
