"""A node that hears nobody it once heard: probes first, a rejoin once there is a path, and both less and less often."""

from __future__ import annotations

from itertools import pairwise

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.finding import NodeSuspected, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.silence import BLIND_AFTER, JITTER, MAX_CANDIDATES, STEADY_PROBES, SilenceRepair

PARAMETERS = LivenessParameters()


def silent(*peers: str, node_id: str = "n") -> SilenceRepair:
    repair = SilenceRepair("s", PARAMETERS)
    repair.update([node_id], peers, 0.0)
    return repair


def probes(repair: SilenceRepair, until: float) -> list[tuple[float, str]]:
    """When a probe is due, and to whom."""
    made: list[tuple[float, str]] = []
    while (at := repair.next_at()) <= until:
        for wanted in repair.probe({"n"}, at):
            assert isinstance(wanted, SyncWanted)
            made.append((at, wanted.peer_id))
    return made


def test_the_peers_heard_last_are_probed_in_turn() -> None:
    made = probes(silent("p", "q", "r"), 10.0)
    assert made == [(0.0, "p"), (2.0, "q"), (4.0, "r"), (6.0, "p"), (8.0, "q"), (10.0, "r")]


def test_after_some_minutes_probes_become_rare_up_to_the_cap() -> None:
    made = [at for at, _ in probes(silent("p"), 20_000.0)]
    gaps = [later - earlier for earlier, later in pairwise(made)]
    assert set(gaps[: STEADY_PROBES - 1]) == {PARAMETERS.bridge_interval}
    assert all(gap <= PARAMETERS.suspicion_cap * (1 + JITTER) for gap in gaps)
    assert min(gaps[STEADY_PROBES + 10 :]) >= PARAMETERS.suspicion_cap


def test_a_silent_fleet_does_not_probe_in_step() -> None:
    late = set[float]()
    for number in range(50):
        repair = SilenceRepair("s", PARAMETERS)
        repair.update([f"n{number}"], ["p"], 0.0)
        while (at := repair.next_at()) < 3000.0:
            repair.probe({f"n{number}"}, at)
        late.add(round(repair.next_at(), 3))
    assert len(late) > 40


def test_a_path_makes_a_node_without_neighbours_rejoin_along_it_once() -> None:
    repair = silent("p", "q")
    (found,) = repair.on_reached("n", "q", True, 75.0)
    assert isinstance(found, NodeSuspected)
    assert (found.cause, found.bridge, found.blind) == (Cause.ISOLATED, ("q",), False)
    assert "reached q" in found.evidence
    assert repair.on_reached("n", "q", True, 76.0) == []


def test_a_node_whose_neighbours_are_still_there_does_not_rejoin() -> None:
    assert silent("p").on_reached("n", "p", False, 10.0) == []


def test_a_node_that_can_probe_hardly_ever_rejoins_without_a_path() -> None:
    repair, starts = silent("p"), list[float]()
    for second in range(3600):
        for found in repair.rejoin_blindly({"n": True}, {"n"}, float(second)):
            assert isinstance(found, NodeSuspected)
            assert found.blind
            starts.append(float(second))
    assert starts[0] >= BLIND_AFTER
    assert len(starts) <= 15
    assert max(later - earlier for earlier, later in pairwise(starts)) >= PARAMETERS.suspicion_cap


def test_a_node_that_cannot_probe_rejoins_soon_and_then_backs_off() -> None:
    repair, starts = silent("p"), list[float]()
    for second in range(600):
        starts += [float(second) for _ in repair.rejoin_blindly({"n": True}, (), float(second))]
    assert starts[0] == PARAMETERS.isolated_after
    assert 4 <= len(starts) <= 8


def test_nobody_who_has_neighbours_rejoins_without_a_path() -> None:
    assert silent("p").rejoin_blindly({"n": False}, (), 1000.0) == []


def test_silence_that_ended_is_forgotten_and_candidates_are_bounded() -> None:
    repair = silent(*(f"p{number}" for number in range(200)))
    assert len({peer_id for _, peer_id in probes(repair, 170.0)}) == MAX_CANDIDATES
    repair.update([], [], 171.0)
    assert "n" not in repair
    assert repair.next_at() == float("inf")
