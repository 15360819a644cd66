"""What is measured of a fleet, and what is decided again on a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.server.config import State
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import DecisionKind, Outcome, Rule
from gossipcontrol.sim.fleet import simulate, without_service
from gossipcontrol.sim.recorded import is_state_file, read_record, recorded_result
from gossipcontrol.sim.replay import replay
from gossipcontrol.sim.result import Result
from gossipcontrol.sim.scenario import Scenario, Step
from gossipcontrol.sim.scenario_file import FleetScenario
from gossipcontrol.sim.silence import TOLERATED, SilenceMeter
from gossipcontrol.sim.trial import ScenarioError, Trial
from gossipcontrol.v1 import gossip_control_pb2 as pb
from gossipcontrol.v1.attach_pb2 import NeighborEvent

from tests.kit.service_lab import BareAgent, config, connected, deciding, rejoin, serving
from tests.state.written_before.written_state import unpack

CUT = Step(what="partition", at=20.0, length=30.0, share=0.34)
SMALL = Scenario(name="small", nodes=6, stores=1, report_interval=2.0, duration=80.0, steps=(CUT,), delay=0.1)


def fleet(scenario: Scenario, overlay: str = "field", seeds: int = 1) -> FleetScenario:
    return FleetScenario(scenario, overlay, range(1, 1 + seeds), Trial("scenario"))


def test_the_meter_counts_what_is_beyond_the_tolerated_silence_of_each_pair() -> None:
    meter, result = SilenceMeter(["a", "b", "c"]), Result("r", runs=1)
    for second in range(0, 41, 2):
        meter.hear("b", "a", float(second))
        if not 10 <= second < 30:
            meter.hear("c", "a", float(second))
    meter.finish(40.0, result)
    gap = 30.0 - 8.0
    assert (result.silences["a"].mean, result.silences["a"].longest) == ((gap - TOLERATED) / 2, gap)
    assert result.silences["b"].longest == 40.0
    # Of the six pairs, those of b and of c are silent after the tolerated time; c misses a from 14 to 30.
    assert [round(6 * result.unheard[second]) for second in (3, 10, 20, 35)] == [0, 4, 5, 4]


def test_a_trouble_costs_less_with_the_service_than_without() -> None:
    scenario = replace(SMALL, duration=170.0, steps=(replace(CUT, length=75.0),))
    bare, kept = simulate(without_service(fleet(scenario)), Trial("bare")), simulate(fleet(scenario), Trial("kept"))
    assert (bare.commanded.total(), bare.reports, bare.broken, kept.broken) == (0, 0, [], [])
    assert kept.commanded.total() == sum(count for (kind, _), count in kept.decisions.items()
                                         if kind is DecisionKind.STARTED)  # fmt: skip
    assert kept.ended[Outcome.VERIFIED] > 0
    assert (bare.mean_silence or 0) > (kept.mean_silence or 0) + 5
    assert (bare.messages or 0) < (kept.messages or 0)
    assert 0.4 < max(kept.unheard) < 0.6, "two of six nodes are cut off: 16 of 30 pairs"
    assert kept.unheard[-1] == 0.0


def test_the_same_seed_gives_the_same_result_and_runs_add_up() -> None:
    one, again, two = (simulate(fleet(SMALL, seeds=seeds), Trial("x")) for seeds in (1, 1, 2))
    assert one == again
    assert (two.runs, (two.messages or 0) > (one.messages or 0)) == (2, True)
    assert max(two.unheard) <= 1.0


def test_a_larger_fleet_is_one_piece_from_the_start() -> None:
    """With more nodes than an active view holds, dials that evict each other went round without end."""
    scenario = replace(SMALL, nodes=14, duration=40.0, steps=())
    for run in (without_service(fleet(scenario)), fleet(scenario)):
        assert simulate(run, Trial("x")).mean_silence == 0.0


def test_a_configuration_decides() -> None:
    scenario = replace(SMALL, nodes=20, stores=5, duration=60.0, steps=(Step(what="ask", at=10.0),))
    free = simulate(fleet(scenario, "plain"), Trial("free"))
    slow = simulate(fleet(scenario, "plain"), Trial("slow", Parameters(rate=0.1, burst=1)))
    assert (free.commanded.total() >= 20, slow.commanded.total()) == (True, 6)
    assert free.decisions[DecisionKind.STARTED, Rule.LEADING_EDGE] == 20
    assert slow.decisions[DecisionKind.SCHEDULED, Rule.GLOBAL_LIMIT] == 19
    assert (free.messages, free.mean_silence, free.silences) == (None, None, {})


@pytest.mark.parametrize("what", ["restart", "freeze", "outage", "flap", "ask", "suspect", "churn", "mute", "vpn"])
def test_every_kind_of_trouble_runs_in_the_field_without_a_broken_invariant(what: str) -> None:
    step = Step(what=what, at=15.0, length=10.0, share=0.5, times=2, every=20.0)  # type: ignore[arg-type]
    result = simulate(fleet(replace(SMALL, duration=60.0, steps=(step,))), Trial("x"))
    assert result.broken == []


# Records.


async def test_a_record_of_a_service_that_runs_is_decided_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    settings = replace(config(tmp_path, deciding=deciding(windows=5.0)), state=State(path=str(path)))
    async with serving(settings) as service, connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a", name="kitchen")
        for number in range(3):
            await stub.Rejoin(rejoin("n", "a"))
            if not number:
                await agent.command()
                await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
        await stub.Rejoin(rejoin("away", "a"))
        rejoins = (await stub.ListRejoins(pb.ListRejoinsRequest())).rejoins
        assert len(rejoins) == 3
        record = read_record(path)
    assert [(node.node_id, node.name) for node in record.nodes] == [("n", "kitchen")]
    assert (len(record.triggers), record.missing, record.written_with.label) == (4, 0, "replayed")
    kept, wide = recorded_result(record), replay(record, Trial("wide", Parameters(window=0.001, verify_timeout=0.001)))
    assert kept.commanded == {"n": 1}
    assert kept.decisions[DecisionKind.PARKED, Rule.UNKNOWN_NODE] + kept.decisions[
        DecisionKind.PARKED, Rule.NOT_ATTACHED] == 1  # fmt: skip
    again = replay(record, record.written_with)
    assert again.decisions[DecisionKind.STARTED, Rule.LEADING_EDGE] == 1
    assert again.decisions == kept.decisions
    assert wide.commanded["n"] > again.commanded["n"] - 1


def test_the_record_of_an_earlier_version_is_decided_again_by_its_own_parameters_and_by_others(tmp_path: Path) -> None:
    path = unpack(tmp_path)
    before = path.read_bytes()
    record = read_record(path)
    assert path.read_bytes() == before, "a record is only read"
    kept, again = recorded_result(record), replay(record, record.written_with)
    slow = replay(record, Trial("slow", Parameters(window=60.0)))
    assert sum(kept.decisions.values()) == len(record.triggers) == sum(again.decisions.values())
    assert abs(again.commanded.total() - kept.commanded.total()) <= 0.1 * kept.commanded.total()
    assert slow.commanded.total() < 0.8 * again.commanded.total()
    assert slow.decisions[DecisionKind.COALESCED, Rule.WINDOW] > again.decisions[DecisionKind.COALESCED, Rule.WINDOW]
    assert replay(record, record.written_with) == again
    assert len(read_record(path, last=60.0).triggers) < len(record.triggers)


async def test_what_is_no_record_is_refused_with_a_sentence(tmp_path: Path) -> None:
    settings = replace(config(tmp_path), state=State(path=str(tmp_path / "state.db")))
    async with serving(settings):
        pass
    with pytest.raises(ScenarioError, match="no trigger is recorded there"):
        read_record(tmp_path / "state.db")
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert is_state_file(tmp_path / "broken.db")
    with pytest.raises(ScenarioError, match=r"broken\.db"):
        read_record(tmp_path / "broken.db")
    with pytest.raises(ScenarioError, match="No such file"):
        is_state_file(tmp_path / "none")
