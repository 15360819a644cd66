"""Rejoins because of rot: a rung per trigger, and no proof but the end of the suspicion."""

from __future__ import annotations

import dataclasses

import pytest
from gossipcontrol.server.core.deciding.record import RejoinRecord
from gossipcontrol.server.core.decision import Capability, Cause, Outcome, Rung
from gossipcontrol.server.core.effect import AdviseRestart
from gossipcontrol.server.core.event import NodeAttached, RejoinRequested, ServiceStarted, SuspicionEnded

from tests.core.deciding.test_replay import LoggingLab, replays

ROT = [Cause.OUTBOUND_ROT, Cause.INBOUND_ROT, Cause.PARTITION]


@pytest.fixture
def lab() -> LoggingLab:
    """With one agent that can subscribe anew."""
    lab = LoggingLab()
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset({Capability.RESUBSCRIBE})))
    return lab


def suspect(lab: LoggingLab, cause: Cause = Cause.OUTBOUND_ROT) -> list[AdviseRestart]:
    """Trigger a rejoin that is carried out, and let its proof time pass; the advice that it brought."""
    effects = lab.handle(RejoinRequested("n", cause=cause))
    lab.finish()
    lab.advance(30)
    return [effect for effect in effects if isinstance(effect, AdviseRestart)]


def clear(lab: LoggingLab, cause: Cause = Cause.OUTBOUND_ROT, *, healed: bool = True) -> list[AdviseRestart]:
    """End a suspicion; the advice that it brought."""
    effects = lab.handle(SuspicionEnded("n", "a", cause, healed))
    return [effect for effect in effects if isinstance(effect, AdviseRestart)]


def outcomes(lab: LoggingLab) -> list[Outcome]:
    """Of all rejoins, oldest first."""
    return [rejoin.outcome for rejoin in lab.core.catalog.rejoins()][::-1]


def newest(lab: LoggingLab) -> RejoinRecord:
    return next(iter(lab.core.catalog.rejoins()))


@pytest.mark.parametrize("cause", ROT)
def test_a_sign_of_life_proves_nothing_where_rot_stands(lab: LoggingLab, cause: Cause) -> None:
    suspect(lab, cause)
    lab.neighbor_up()
    assert outcomes(lab) == [Outcome.RUNNING]
    assert "waiting until the suspicion ends" in newest(lab).detail
    replays(lab)


@pytest.mark.parametrize("cause", ROT)
def test_the_end_of_the_suspicion_is_the_proof(lab: LoggingLab, cause: Cause) -> None:
    suspect(lab, cause)
    clear(lab, cause)
    assert outcomes(lab) == [Outcome.VERIFIED]
    assert newest(lab).verified_after == 30
    assert lab.core.deciding.next_deadline() is None
    replays(lab)


def test_the_end_of_the_suspicion_proves_within_the_proof_time_too(lab: LoggingLab) -> None:
    lab.handle(RejoinRequested("n", cause=Cause.PARTITION))
    lab.advance(1)
    clear(lab, Cause.PARTITION)
    assert outcomes(lab) == [Outcome.VERIFIED]
    assert lab.core.counts().running == 0
    replays(lab)


def test_each_trigger_tries_the_next_rung_and_the_last_advises_a_restart_once(lab: LoggingLab) -> None:
    advices = [suspect(lab) for _ in range(4)]
    assert [len(advice) for advice in advices] == [0, 0, 1, 0]
    assert advices[2][0].detail == "resubscribe, the last rung, was tried before, and what was suspected still stands"
    assert [start.rung for _, start in lab.starts] == [
        Rung.REJOIN,
        Rung.RESUBSCRIBE,
        Rung.RESUBSCRIBE,
        Rung.RESUBSCRIBE,
    ]
    assert outcomes(lab) == [Outcome.UNVERIFIED] * 3 + [Outcome.RUNNING]
    replays(lab)


def test_the_next_rot_begins_at_the_lowest_rung(lab: LoggingLab) -> None:
    for _ in range(3):
        suspect(lab)
    clear(lab)
    assert [len(suspect(lab)) for _ in range(3)] == [0, 0, 1]
    assert lab.starts[3][1].rung is Rung.REJOIN
    replays(lab)


def test_rot_stands_until_its_last_kind_is_cleared(lab: LoggingLab) -> None:
    suspect(lab)
    suspect(lab, Cause.INBOUND_ROT)
    clear(lab)
    assert outcomes(lab) == [Outcome.UNVERIFIED, Outcome.RUNNING]
    clear(lab, Cause.INBOUND_ROT)
    assert outcomes(lab) == [Outcome.UNVERIFIED, Outcome.VERIFIED]
    replays(lab)


def test_an_end_without_health_proves_nothing_and_forgets_no_rung(lab: LoggingLab) -> None:
    suspect(lab)
    assert clear(lab, healed=False) == []
    assert outcomes(lab) == [Outcome.UNVERIFIED]
    suspect(lab)
    assert lab.starts[-1][1].rung is Rung.RESUBSCRIBE
    (advice,) = clear(lab, healed=False)
    assert advice.detail == "the suspicion ended, but nothing shows that the node recovered"
    lab.neighbor_up()
    assert len(suspect(lab)) == 1, "life after the advice began a new episode"
    replays(lab)


def test_a_rung_tried_long_ago_is_forgotten(lab: LoggingLab) -> None:
    suspect(lab)
    clear(lab, healed=False)
    lab.advance(lab.parameters.trial_time)
    suspect(lab)
    assert lab.starts[-1][1].rung is Rung.REJOIN
    replays(lab)


def test_a_cut_that_lasts_does_not_climb(lab: LoggingLab) -> None:
    suspect(lab, Cause.PARTITION)
    lab.advance(60)
    suspect(lab, Cause.PARTITION)
    lab.handle(RejoinRequested("n", cause=Cause.PARTITION))
    lab.advance(10)
    lab.handle(RejoinRequested("n", cause=Cause.PARTITION))
    assert [start.rung for _, start in lab.starts] == [*[Rung.REJOIN] * 3, Rung.RESUBSCRIBE], "10 s after the third"
    replays(lab)


def test_a_suspicion_that_ends_without_health_while_its_rejoin_runs_leaves_it_unverified(lab: LoggingLab) -> None:
    lab.handle(RejoinRequested("n", cause=Cause.PARTITION))
    lab.finish()
    lab.advance(1)
    clear(lab, Cause.PARTITION, healed=False)
    assert outcomes(lab) == [Outcome.RUNNING]
    lab.advance(30)
    assert outcomes(lab) == [Outcome.UNVERIFIED]
    replays(lab)


def test_nobody_is_advised_to_restart_a_node_that_is_gone(lab: LoggingLab) -> None:
    suspect(lab)
    suspect(lab)
    lab.detach()
    assert clear(lab, healed=False) == []


def test_what_waits_because_of_rot_ends_when_the_suspicion_does(lab: LoggingLab) -> None:
    lab.handle(RejoinRequested("n", cause=Cause.OUTBOUND_ROT))
    lab.advance(1)
    lab.handle(RejoinRequested("n", cause=Cause.OUTBOUND_ROT))
    clear(lab)
    assert outcomes(lab) == [Outcome.VERIFIED, Outcome.SKIPPED]
    lab.advance(60)
    assert len(lab.starts) == 1
    replays(lab)


def test_a_trigger_of_another_kind_shares_the_run_and_is_proved_by_life(lab: LoggingLab) -> None:
    lab.handle(RejoinRequested("n"))
    lab.advance(1)
    lab.handle(RejoinRequested("n", cause=Cause.OUTBOUND_ROT))
    lab.handle(RejoinRequested("n"))
    lab.advance(5.5)
    lab.neighbor_up()
    assert outcomes(lab)[1] is Outcome.VERIFIED
    replays(lab)


@pytest.mark.parametrize("retry_in", [None, 1.0])
def test_a_failure_that_is_told_after_the_proof_time_changes_nothing(lab: LoggingLab, retry_in: float | None) -> None:
    lab.handle(RejoinRequested("n", cause=Cause.OUTBOUND_ROT))
    lab.advance(30)
    before = lab.core.save()
    lab.finish(error="no answer in time", retry_in=retry_in)
    assert lab.core.save() == before, "it is on trial, and its attempt long over"
    lab.handle(RejoinRequested("n"))
    lab.finish(0, error="no answer in time", retry_in=retry_in)
    assert lab.core.counts().running == 1, "another runs in its slot"
    clear(lab)
    assert outcomes(lab)[0] is Outcome.VERIFIED
    replays(lab)


def test_a_failed_attempt_is_tried_again_on_its_own_rung(lab: LoggingLab) -> None:
    lab.handle(RejoinRequested("n", cause=Cause.OUTBOUND_ROT))
    lab.finish(error="no route", retry_in=1.0)
    lab.advance(20)
    assert [start.rung for _, start in lab.starts] == [Rung.REJOIN, Rung.REJOIN]
    replays(lab)


def test_a_trial_ends_with_the_stream_with_the_store_and_with_the_service(lab: LoggingLab) -> None:
    suspect(lab)
    lab.detach()
    assert "stream ended" in newest(lab).detail
    lab.attach()
    suspect(lab)
    lab.handle(NodeAttached("n", "s", ("b",)))
    assert "does not have this store" in newest(lab).detail
    lab.attach()
    suspect(lab)
    suspect(lab)
    lab.handle(ServiceStarted("u"))
    assert newest(lab).outcome is Outcome.UNVERIFIED
    lab.attach()
    suspect(lab)
    assert lab.starts[-1][1].rung is Rung.REJOIN
    replays(lab)


def test_a_trial_that_nobody_ends_is_given_up(lab: LoggingLab) -> None:
    suspect(lab)
    lab.advance(lab.parameters.trial_time)
    assert outcomes(lab) == [Outcome.UNVERIFIED]
    assert "nobody" in newest(lab).detail
    suspect(lab)
    assert lab.starts[-1][1].rung is Rung.REJOIN
    replays(lab)


def test_a_snapshot_from_before_there_were_trials_is_read(lab: LoggingLab) -> None:
    lab.handle(RejoinRequested("n"))
    saved = lab.core.save()
    slot = saved["registry"]["nodes"][0]["slots"][0]
    assert slot.pop(3) == ""
    again = dataclasses.replace(lab)
    again.core.load(saved)
    assert [rejoin.outcome for rejoin in again.core.catalog.rejoins()] == [Outcome.RUNNING]
