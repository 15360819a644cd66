"""A node that hears nobody it once heard: probes first, a rejoin once there is a path, and both less and less often."""

from __future__ import annotations

from itertools import pairwise

import pytest
from gossipcontrol.server.core.decision import Cause, Rung
from gossipcontrol.server.core.event import SuspicionEnded
from gossipcontrol.server.core.finding import NodeSuspected, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.silence import BLIND_AFTER, JITTER, MAX_CANDIDATES, STEADY_PROBES, SilenceRepair
from gossipcontrol.server.core.repair.unheard import HOLD
from hypothesis import given, settings
from hypothesis import strategies as st

PARAMETERS = LivenessParameters()


def silent(*peers: str, node_id: str = "n") -> SilenceRepair:
    repair = SilenceRepair("s", PARAMETERS)
    repair.update(node_id, peers, 0.0, is_total=True)
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
        repair.update(f"n{number}", ["p"], 0.0, is_total=True)
        while (at := repair.next_at()) < 3000.0:
            repair.probe({f"n{number}"}, at)
        late.add(round(repair.next_at(), 3))
    assert len(late) > 40


def test_a_path_makes_a_node_without_neighbours_rejoin_along_it_once() -> None:
    repair = silent("p", "q")
    (found,) = repair.on_reached("n", "q", 75.0, alone=True, lists=False)
    assert isinstance(found, NodeSuspected)
    assert (found.cause, found.bridge, found.rejoin_only) == (Cause.ISOLATED, ("q",), False)
    assert "reached q" in found.evidence
    assert repair.on_reached("n", "q", 76.0, alone=True, lists=False) == []


def test_a_node_whose_neighbours_are_still_there_does_not_rejoin() -> None:
    assert silent("p").on_reached("n", "p", 10.0, alone=False, lists=False) == []


def test_a_path_to_a_listed_neighbour_that_nobody_hears_makes_the_node_resubscribe_at_once() -> None:
    repair = silent("p", "q")
    (found,) = repair.on_reached("n", "q", 75.0, alone=False, lists=True)
    assert isinstance(found, NodeSuspected)
    assert (found.cause, found.bridge, found.rejoin_only) == (Cause.ISOLATED, ("q",), False)
    assert found.first_rung is Rung.RESUBSCRIBE


def test_dead_links_make_a_node_resubscribe_ever_less_often_however_many_peers_are_silent() -> None:
    peers, starts = [f"p{number}" for number in range(20)], list[float]()
    repair = silent(*peers)
    for second in range(600):
        found = repair.on_reached("n", peers[second % 20], float(second), alone=False, lists=True)
        starts += [float(second) for one in found if isinstance(one, NodeSuspected)]
    assert starts[0] == 0.0
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps[0] >= PARAMETERS.suspicion_interval
    assert all(later >= 1.2 * earlier for earlier, later in pairwise(gaps))


@pytest.mark.parametrize(("heard_after", "again"), [(5.0, 1), (60.0, 0)])
def test_a_store_in_which_people_speak_rarely_is_not_resubscribed_each_time(heard_after: float, again: int) -> None:
    """Only what is heard soon after shows that it helped: else the next waits longer."""
    repair = silent("p")
    for at in (0.0, 100.0):
        assert repair.on_reached("n", "p", at, alone=False, lists=True)
        repair.on_heard("n", {"p": at + heard_after}, {})
    later = repair.on_reached("n", "p", 110.0, alone=False, lists=True)
    assert len(later) == again


def test_a_dead_link_of_a_node_that_hears_others_costs_it_no_other_link() -> None:
    repair = partial("p", "q")
    assert repair.on_reached("n", "q", 75.0, alone=False, lists=True) == []
    (found,) = repair.rejoin_towards_unheard(75.0 + HOLD)
    assert isinstance(found, NodeSuspected)
    assert (found.first_rung, found.rejoin_only) == (Rung.REJOIN, True)


def test_a_node_that_can_probe_hardly_ever_rejoins_without_a_path() -> None:
    repair, starts = silent("p"), list[float]()
    for second in range(3600):
        for found in repair.rejoin_blindly({"n": True}, {"n"}, float(second)):
            assert isinstance(found, NodeSuspected)
            assert found.rejoin_only
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
    repair.update("", [], 171.0, is_total=False)
    assert "n" not in repair
    assert repair.next_at() == float("inf")


# A node that still hears some peers.


def partial(*peers: str) -> SilenceRepair:
    repair = SilenceRepair("s", PARAMETERS)
    repair.update("n", peers, 0.0, is_total=False)
    return repair


def test_a_reached_peer_that_stays_unheard_makes_the_node_rejoin_towards_it() -> None:
    repair = partial("p", "q")
    assert repair.on_reached("n", "q", 75.0, alone=False, lists=False) == []
    assert repair.rejoin_towards_unheard(75.0 + HOLD - 0.1) == []
    assert repair.next_at() <= 75.0 + HOLD
    (found,) = repair.rejoin_towards_unheard(75.0 + HOLD)
    assert isinstance(found, NodeSuspected)
    assert (found.cause, found.bridge, found.rejoin_only) == (Cause.PARTITION, ("q",), True)
    assert "reached q" in found.evidence
    assert repair.on_heard("n", {"q": 82.0}, {}) == [SuspicionEnded("n", "s", Cause.PARTITION)]
    assert repair.on_heard("n", {"q": 83.0}, {}) == []


@pytest.mark.parametrize(("heard", "neighbors"), [({"q": 76.0}, {}), ({}, {"q": 76.0})])
def test_a_reached_peer_that_is_heard_or_linked_causes_no_rejoin(
    heard: dict[str, float], neighbors: dict[str, float]
) -> None:
    repair = partial("q")
    repair.on_reached("n", "q", 75.0, alone=False, lists=False)
    assert repair.on_heard("n", heard, neighbors) == []
    assert repair.rejoin_towards_unheard(75.0 + HOLD) == []


def test_what_was_heard_before_the_peer_was_reached_proves_nothing() -> None:
    repair = partial("q")
    repair.on_reached("n", "q", 75.0, alone=False, lists=False)
    repair.on_heard("n", {"q": 30.0}, {"q": 10.0})
    assert len(repair.rejoin_towards_unheard(75.0 + HOLD)) == 1


def test_peers_reached_one_after_the_other_share_a_rejoin() -> None:
    repair = partial("p", "q", "r")
    for at, peer_id in ((1.0, "p"), (3.0, "q"), (5.0, "r")):
        repair.on_reached("n", peer_id, at, alone=False, lists=False)
    (first,) = repair.rejoin_towards_unheard(1.0 + HOLD)
    assert isinstance(first, NodeSuspected)
    assert first.bridge == ("p",)
    later = 1.0 + HOLD + PARAMETERS.suspicion_interval
    assert repair.rejoin_towards_unheard(later - 0.1) == []
    (second,) = repair.rejoin_towards_unheard(later)
    assert isinstance(second, NodeSuspected)
    assert second.bridge == ("q", "r")


def rejoins_towards(repair: SilenceRepair, peers: list[str], until: float) -> list[float]:
    """When the node rejoins towards peers that answer every probe and are never heard."""
    made: list[float] = []
    for second in range(int(until)):
        now = float(second)
        repair.update("n", peers, now, is_total=False)
        for wanted in repair.probe({"n"}, now):
            assert isinstance(wanted, SyncWanted)
            repair.on_reached("n", wanted.peer_id, now, alone=False, lists=False)
        made += [now for _ in repair.rejoin_towards_unheard(now)]
    return made


@given(number=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_peers_that_answer_but_take_no_part_any_more_cause_ever_fewer_rejoins(number: int) -> None:
    peers = [f"p{one}" for one in range(number)]
    made = rejoins_towards(partial(*peers), peers, 4 * 3600.0)
    assert made
    late = [at for at in made if at > 3600.0]
    assert len(late) <= 1 + number * 3 * 3600.0 / PARAMETERS.suspicion_cap
    assert all(later - earlier >= PARAMETERS.suspicion_interval for earlier, later in pairwise(made))


def test_no_peer_is_probed_more_often_because_others_were_reached() -> None:
    repair, made = partial("p", "q"), list[float]()
    for second in range(7200):
        now = float(second)
        repair.update("n", ["p", "q"], now, is_total=False)
        for wanted in repair.probe({"n"}, now):
            assert isinstance(wanted, SyncWanted)
            made.append(now)
            if wanted.peer_id == "q":
                repair.on_reached("n", "q", now, alone=False, lists=False)
    assert len(made) <= STEADY_PROBES + 8 + 7200 / PARAMETERS.suspicion_cap


def test_a_peer_that_falls_silent_is_probed_at_once_whoever_was_silent_before() -> None:
    repair = partial("p")
    made = probes(repair, 7200.0)
    repair.update("n", ["q", "p"], 7200.0, is_total=False)
    assert repair.next_at() == 7200.0
    assert probes(repair, 7210.0)[0] == (7200.0, "q")
    assert len(made) < 200


def test_a_node_that_hears_others_never_rejoins_without_a_path() -> None:
    assert partial("p").rejoin_blindly({"n": True}, (), 10_000.0) == []


def test_a_lone_node_that_reached_a_peer_in_vain_waits_before_it_rejoins_towards_it_again() -> None:
    repair = silent("p")
    starts = [second for second in range(3600) if repair.on_reached("n", "p", float(second), alone=True, lists=False)]
    assert starts[0] == 0
    assert len(starts) < 20
