"""Another replica takes over: nodes stay attached while their agents come back, and what runs is sent again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.deciding.engine import RETURN_TIME
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import NodeDetached, OwnerChanged, RejoinRequested, ServiceStarted
from gossipcontrol.server.wire.reasons import explain_rejoin

from tests.kit.core_lab import Lab


def running(parameters: Parameters | None = None) -> Lab:
    """Node n runs a rejoin of store a, and one waits in its window."""
    lab = Lab(parameters or Parameters())
    lab.attach("n", "a")
    for request_id in ("one", "two"):
        lab.handle(RejoinRequested("n", ("a",), request_id=request_id))
    lab.advance(1)
    return lab


def rejoin(lab: Lab, rejoin_id: str) -> str:
    record = lab.core.catalog.rejoin(rejoin_id)
    assert record is not None
    return f"{record.outcome.name}: {explain_rejoin(record, lab.now)}"


def states(lab: Lab) -> list[str]:
    return [one.outcome.name for one in lab.core.catalog.scan_rejoins() if one is not None]


def test_a_running_rejoin_is_sent_again_under_its_attempt_once_the_agent_is_back() -> None:
    lab = running()
    lab.handle(OwnerChanged("r2", 2))
    first = lab.starts[0][1]
    assert lab.core.counts().attached == 1
    assert rejoin(lab, first.rejoin_id) == (
        "RUNNING: the owner changed, and the node's agent has not attached again yet"
    )
    lab.advance(3)
    assert not lab.repeats
    effects = lab.attach("n", "a", session_id="r2-s1")
    again = [one for one in effects if isinstance(one, StartRejoin)]
    assert again == [replace(first, session_id="r2-s1", delay=None, again=True)]
    assert "attempt 1 was sent again, because the owner changed" in rejoin(lab, first.rejoin_id)
    lab.neighbor_up(ago=1.0)
    assert rejoin(lab, first.rejoin_id).startswith("RUNNING"), "what was heard before it was sent again proves nothing"
    lab.advance(1)
    lab.finish()
    lab.neighbor_up()
    assert rejoin(lab, first.rejoin_id) == ("VERIFIED: verified by neighbour p; sent again, because the owner changed")


def test_the_proof_time_begins_when_it_is_sent_again() -> None:
    lab = running()
    lab.handle(OwnerChanged("r2", 2))
    lab.advance(RETURN_TIME - 1)
    lab.attach("n", "a", session_id="r2-s1")
    lab.advance(lab.parameters.verify_timeout - 1)
    assert states(lab).count("RUNNING") == 1
    assert len(lab.repeats) == 1


def test_what_waits_does_not_start_on_a_stream_that_is_gone_and_starts_when_the_agent_is_back() -> None:
    lab = running(Parameters(window=5.0))
    lab.handle(OwnerChanged("r2", 2))
    lab.advance(lab.parameters.window)
    [waiting] = [one for one in lab.core.catalog.scan_rejoins() if one and one.outcome is Outcome.PARKED]
    assert "the owner changed" in rejoin(lab, waiting.rejoin_id)
    assert len(lab.starts) == 1
    lab.attach("n", "a", session_id="r2-s1")
    assert "the owner changed" not in rejoin(lab, waiting.rejoin_id)


def test_a_trigger_waits_for_the_agent_and_the_forecast_says_so() -> None:
    lab = Lab()
    lab.attach("n", "a")
    lab.handle(OwnerChanged("r2", 2))
    forecast = lab.core.foretell(RejoinRequested("n", ("a",)), lab.now).explanations[0]
    [decision] = lab.answer(RejoinRequested("n", ("a",))).decisions
    assert (decision.kind, decision.rule) == (DecisionKind.PARKED, Rule.NOT_ATTACHED)
    assert (forecast.decision.kind, forecast.seen.attached) == (DecisionKind.PARKED, False)
    assert "the owner changed" in rejoin(lab, decision.rejoin_id)
    lab.attach("n", "a", session_id="r2-s1")
    assert [start.attempt for _, start in lab.starts] == [1]


def test_an_agent_that_does_not_come_back_is_detached_after_its_time_and_its_rejoins_are_parked() -> None:
    lab = running()
    lab.attach("m", "a", session_id="s2")
    lab.handle(OwnerChanged("r2", 2))
    lab.attach("m", "a", session_id="r2-s1")
    lab.advance(RETURN_TIME - 0.1)
    assert lab.core.counts().attached == 2
    lab.advance(0.2)
    assert lab.core.counts().attached == 1
    assert lab.core.deciding.returns_by() is None
    assert sorted(states(lab)) == ["FAILED", "PARKED"]


def test_a_store_that_the_agent_no_longer_has_is_not_sent_again() -> None:
    lab = running()
    lab.handle(OwnerChanged("r2", 2))
    lab.attach("n", "b", session_id="r2-s1")
    assert not lab.repeats
    assert sorted(states(lab)) == ["SKIPPED", "SKIPPED"]


def test_the_stale_stream_says_nothing_and_a_second_change_gives_time_again() -> None:
    lab = running()
    lab.handle(OwnerChanged("r2", 2))
    lab.advance(RETURN_TIME - 1)
    lab.handle(OwnerChanged("r3", 3))
    lab.attach("n", "a", session_id="r3-s1")
    lab.handle(NodeDetached("n", "s"))
    assert lab.core.counts().attached == 1
    assert [start.attempt for _, start in (*lab.starts, *lab.repeats)] == [1, 1]


def test_a_start_of_the_service_ends_the_waiting_for_agents() -> None:
    lab = running()
    lab.handle(OwnerChanged("r2", 2))
    lab.handle(ServiceStarted("r3"))
    assert lab.core.counts().attached == 0
    assert lab.core.deciding.returns_by() is None


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_core_that_is_restored_while_agents_come_back_decides_as_the_original_does(comes_back: bool) -> None:
    lab = running()
    lab.handle(OwnerChanged("r2", 2))
    restored = Lab(Parameters(), lab.now)
    restored.core = Core()
    restored.core.load(lab.core.save())
    for one in (lab, restored):
        one.advance(2)
        if comes_back:
            one.attach("n", "a", session_id="r2-s1")
        one.advance(60)
    assert restored.core.save() == lab.core.save()
    assert (restored.starts, restored.repeats) == (lab.starts[1:], lab.repeats)
