"""The knock: another node rejoins towards one whose own rejoin stays unproved, and what a pair of devices does."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.deciding.ladder import LADDER, higher
from gossipcontrol.server.core.deciding.record import Restart
from gossipcontrol.server.core.decision import Capability, Cause, NamedBy, Outcome, Rung
from gossipcontrol.server.core.effect import AdviseRestart, AnnounceRestart, AskPeer
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinRequested,
    RestartFinished,
    TimePassed,
)
from gossipcontrol.server.core.turn import Turn

from tests.core.deciding.test_replay import LoggingLab, replays

BOTH = frozenset({Capability.REBIND, Capability.RESUBSCRIBE})
NONE = frozenset[Capability]()
BEGAN = 1000.0
"""When every lab begins."""


class StoreLab(LoggingLab):
    """A store of attached nodes; ``asked`` and ``advised`` are the effects of their kinds, with their instants."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[tuple[float, AskPeer]] = []
        self.advised: list[tuple[float, AdviseRestart]] = []

    def turn(self, event: Event) -> Turn:
        turn = super().turn(event)
        self.asked += [(self.now, effect) for effect in turn.effects if isinstance(effect, AskPeer)]
        self.advised += [(self.now, effect) for effect in turn.effects if isinstance(effect, AdviseRestart)]
        return turn

    def join(self, *node_ids: str, capabilities: frozenset[Capability] = NONE) -> None:
        for node_id in node_ids:
            event = NodeAttached(node_id, f"s-{node_id}", ("a",), f"h-{node_id}", capabilities, (f"{node_id}:1",))
            self.handle(event)

    def rejoin(self, node_id: str, cause: Cause = Cause.MANUAL) -> None:
        self.handle(RejoinRequested(node_id, ("a",), cause))

    def speak(self, *node_ids: str) -> None:
        """Nodes report, with the neighbours that they have."""
        for node_id in node_ids:
            slot = self.core.deciding.registry.find_slot(node_id, "a")
            self.handle(LivenessReported(node_id, "a", neighbors=dict(slot.neighbors) if slot else {}))

    def of(self, node_id: str) -> list[tuple[float, Rung, tuple[Cause, ...]]]:
        """What a node was told to do, and how long after the beginning."""
        return [(at - BEGAN, one.rung, one.causes) for at, one in self.starts if one.node_id == node_id]


def stores(*node_ids: str, capabilities: frozenset[Capability] = NONE) -> StoreLab:
    lab = StoreLab()
    lab.join(*node_ids, capabilities=capabilities)
    return lab


def test_another_node_is_asked_to_rejoin_towards_one_whose_rejoin_stays_unproved() -> None:
    lab = stores("n", "p", "q")
    lab.rejoin("n")
    lab.advance(5.5)
    [(at, asked)] = lab.asked
    assert (at - BEGAN, asked.asker_id, asked.decision.node_id) == (5.0, "n", "p")
    assert lab.of("p") == [(5.0, Rung.REJOIN, (Cause.ASKED,))]
    start = lab.starts[-1][1]
    assert [(peer.peer_id, peer.addresses) for peer in start.bootstrap] == [("n", ("n:1",))], "it dials nobody else"
    newest, own = lab.core.catalog.rejoins()
    assert newest.triggers[0].evidence == f"asked to rejoin towards n, whose rejoin {own.rejoin_id} stays unproved"
    assert (own.outcome, own.rung) == (Outcome.RUNNING, Rung.ASK_PEER), "it waits for what the other does"
    assert "p is asked to rejoin towards it" in own.detail
    replays(lab)


def test_what_another_node_does_proves_the_rejoin_and_no_restart_is_advised() -> None:
    lab = stores("n", "p", "q")
    lab.rejoin("n")
    lab.advance(5.5)
    lab.neighbor_up("p", "n")
    assert [one.outcome for one in lab.core.catalog.rejoins() if one.node_id == "n"] == [Outcome.VERIFIED]
    lab.advance(60)
    assert lab.advised == []
    replays(lab)


def test_a_restart_is_advised_once_the_proof_time_of_the_other_is_over_too() -> None:
    lab = stores("n", "p", "q")
    lab.rejoin("n")
    lab.advance(60)
    [(at, advice)] = lab.advised
    assert (at - BEGAN, advice.node_id) == (10.0, "n")
    assert [one.outcome for one in lab.core.catalog.rejoins() if one.node_id == "n"] == [Outcome.UNVERIFIED]
    replays(lab)


def test_a_node_that_is_asked_keeps_its_window_and_is_waited_for() -> None:
    lab = stores("n", "p", "q")
    lab.handle(NodeDetached("q", "s-q"))
    lab.advance(1)
    lab.rejoin("p")
    lab.neighbor_up("q", "p")
    lab.advance(1)
    lab.rejoin("n")
    lab.advance(60)
    assert [at for at, _, _ in lab.of("p")] == [1.0, 7.0]
    assert [at - BEGAN for at, one in lab.advised if one.node_id == "n"] == [12.0]


def test_a_node_whose_own_rejoin_is_due_too_is_asked_once_that_has_ended() -> None:
    """As after a service that stood still: both are due in one turn, and what runs must not be forgotten."""
    lab = StoreLab()
    lab.join("n", "m")
    for node_id in ("n", "m"):
        lab.handle(LivenessReported(node_id, "a", {"z": lab.now}))
        lab.rejoin(node_id)
        lab.now += 0.5
    lab.now += 10.0
    lab.handle(TimePassed())
    again = Core()
    again.load(json.loads(json.dumps(lab.core.save())))
    lab.core = again
    lab.advance(60.0)
    assert Cause.ASKED in {start.causes[0] for _, start in lab.starts}
    assert {one.outcome for one in again.catalog.rejoins()} == {Outcome.UNVERIFIED}


def test_nodes_take_turns_and_one_that_lists_the_asker_comes_last() -> None:
    lab = stores("n", "p", "q", "r")
    lab.neighbor_up("n", "p")
    for _ in range(4):
        lab.rejoin("n")
        lab.advance(20)
        lab.speak("n", "p", "q", "r")
    assert [one.decision.node_id for _, one in lab.asked if one.asker_id == "n"] == ["q", "r", "q", "r"]


def test_nobody_is_asked_who_is_away_or_has_no_agent() -> None:
    lab = stores("n", "p", "q")
    lab.handle(LivenessReported("x", "a"))
    lab.handle(NodeDetached("p", "s-p", left=True))
    lab.handle(LivenessReported("q", "a", going_to_sleep=True))
    lab.rejoin("n")
    lab.advance(30)
    assert lab.asked == []
    assert [one.rung for one in lab.core.catalog.rejoins() if one.node_id == "n"] == [Rung.REJOIN]


def test_who_is_asked_asks_nobody_itself_and_is_advised_nothing() -> None:
    lab = stores("n", "p", "q")
    lab.rejoin("n")
    lab.advance(120)
    assert len(lab.asked) == 1
    assert [(node_id, len(lab.of(node_id))) for node_id in "npq"] == [("n", 1), ("p", 1), ("q", 0)]
    assert {one.node_id for _, one in lab.advised} == {"n"}


def test_a_store_in_which_all_are_deaf_knocks_once_per_attempt() -> None:
    names = [f"n{number}" for number in range(10)]
    lab = stores(*names, capabilities=BOTH)
    for name in names:
        lab.rejoin(name)
    lab.advance(300)
    own = sum(start.causes != (Cause.ASKED,) for _, start in lab.starts)
    assert own == 30, "three rungs each"
    assert len(lab.asked) <= own
    assert len(lab.starts) <= 2 * own
    assert max(Counter(one.decision.node_id for _, one in lab.asked).values()) <= 8
    replays(lab)


def test_a_node_that_was_asked_does_nothing_where_the_asker_is_well_before_its_turn() -> None:
    lab = stores("n", "p", "q")
    lab.handle(NodeDetached("q", "s-q"))
    lab.advance(4)
    lab.rejoin("n")
    lab.advance(4)
    lab.rejoin("p")
    lab.neighbor_up("q", "p")
    lab.advance(1.5)
    assert [one.decision.node_id for _, one in lab.asked] == ["p"]
    lab.neighbor_up("q", "n")
    lab.advance(30)
    assert len(lab.of("p")) == 1
    assert next(iter(lab.core.catalog.rejoins(node_id="p"))).outcome is Outcome.SKIPPED
    replays(lab)


def test_a_rejoin_that_asks_survives_a_snapshot_and_ends_with_its_stream() -> None:
    lab = stores("n", "p", "q")
    lab.rejoin("n")
    lab.advance(5.5)
    replays(lab)
    again = StoreLab(lab.parameters, lab.now)
    again.core.load(lab.core.save())
    assert again.core.save() == lab.core.save()
    again.advance(30)
    assert [one.node_id for _, one in again.advised] == ["n"]
    lab.handle(NodeDetached("n", "s-n"))
    lab.advance(30)
    assert lab.advised == []
    assert [one.outcome for one in lab.core.catalog.rejoins() if one.node_id == "n"] == [Outcome.UNVERIFIED]
    replays(lab)


# Two devices.


@pytest.mark.parametrize(
    ("capabilities", "rungs"),
    [
        (NONE, [(0.0, Rung.REJOIN)]),
        (frozenset({Capability.REBIND}), [(0.0, Rung.REJOIN), (6.0, Rung.REBIND)]),
        (BOTH, [(0.0, Rung.REJOIN), (6.0, Rung.RESUBSCRIBE)]),
    ],
)
def test_of_two_devices_none_climbs_for_minutes(
    capabilities: frozenset[Capability], rungs: list[tuple[float, Rung]]
) -> None:
    lab = stores("n", "p", capabilities=capabilities)
    lab.rejoin("n")
    lab.advance(300)
    assert [(at, rung) for at, rung, _ in lab.of("n")] == rungs
    assert lab.of("p") == [(5.0, Rung.REJOIN, (Cause.ASKED,))]
    [(at, _)] = lab.advised
    assert at - BEGAN <= 11.0
    replays(lab)


def test_of_two_devices_that_rejoin_at_once_each_is_the_others_knock() -> None:
    lab = stores("n", "p")
    lab.rejoin("n")
    lab.advance(2)
    lab.rejoin("p")
    lab.advance(60)
    assert [(at - BEGAN, one.node_id) for at, one in lab.advised] == [(7.0, "n"), (12.0, "p")]
    assert [one.decision.node_id for _, one in lab.asked] == ["n"], "n had started before p: it is asked again"
    replays(lab)


@pytest.mark.parametrize("again_at", [None, 3.0])
@pytest.mark.parametrize("other_at", [0.5, 2.0, 5.5])
def test_of_two_devices_that_both_climb_neither_waits_for_each_further_attempt_of_the_other(
    other_at: float, again_at: float | None
) -> None:
    """The first attempt of the other has had its time, also where a further trigger makes another rejoin climb on."""
    lab = stores("n", "p", capabilities=BOTH)
    for at, node_id in sorted([(0.0, "n"), (other_at, "p"), *([] if again_at is None else [(again_at, "n")])]):
        lab.advance(BEGAN + at - lab.now)
        lab.rejoin(node_id)
    lab.advance(BEGAN + 11.1 - lab.now)
    assert [(at - BEGAN, one.node_id) for at, one in lab.advised] == [(11.0, "n")]
    replays(lab)


def test_peers_that_are_away_make_a_store_one_of_two_devices() -> None:
    lab = stores("n", "p", "q", capabilities=BOTH)
    lab.handle(LivenessReported("q", "a", going_to_sleep=True))
    lab.rejoin("n")
    lab.advance(60)
    assert [rung for _, rung, _ in lab.of("n")] == [Rung.REJOIN, Rung.RESUBSCRIBE]


def test_a_change_of_the_network_begins_a_new_episode() -> None:
    """A restart that was advised during an outage helps nobody: paths are back now, and dials may still be poisoned."""
    lab = stores("n", "p")
    for _ in range(2):
        lab.rejoin("n")
        lab.advance(20)
        lab.speak("n", "p")
    assert len(lab.advised) == 1
    lab.handle(NetworkChanged("h-n", boot_id="b", generation=1))
    lab.advance(30)
    assert len(lab.advised) == 2
    replays(lab)


# What an agent with a restart command is told, and says.


def test_the_agent_of_a_node_is_told_once_in_ten_minutes_however_many_stores_it_is_about() -> None:
    """A restarted agent knows nothing of the command that it has just run."""
    lab = stores("n", "p")
    for number in range(40):
        lab.handle(NetworkChanged("h-n", boot_id="b", generation=number))
        lab.advance(20)
        lab.speak("n", "p")
    advised = [one for _, one in lab.advised if one.node_id == "n"]
    assert len(advised) == 40
    told = [one.session_id for one in advised if one.session_id]
    assert told == ["s-n", "s-n"], "in 800 s"
    replays(lab)


def test_what_became_of_a_restart_is_kept_once_and_only_for_a_rejoin_of_that_node() -> None:
    lab = stores("n", "p")
    lab.rejoin("n")
    lab.advance(30)
    [(_, advice)] = lab.advised
    stranger = lab.turn(RestartFinished("p", advice.rejoin_id, 0, 1.0))
    assert (stranger.effects, stranger.facts) == ([], [])
    ended = RestartFinished("n", advice.rejoin_id, 3, 1.5, "ended with 3")
    assert lab.handle(ended) == [AnnounceRestart(advice.rejoin_id, "n", "a", 3, 1.5, "ended with 3")]
    assert lab.turn(RestartFinished("n", advice.rejoin_id, 0, 1.0)).facts == []
    [kept] = [one.restart for one in lab.core.catalog.rejoins() if one.rejoin_id == advice.rejoin_id]
    assert kept == Restart(lab.now, 3, 1.5, "ended with 3")
    replays(lab)
    again = StoreLab(lab.parameters, lab.now)
    again.core.load(json.loads(json.dumps(lab.core.save())))
    assert [one.restart for one in again.core.catalog.rejoins()] == [one.restart for one in lab.core.catalog.rejoins()]


# Whom nobody is told to dial.


def test_no_hint_names_a_peer_that_is_known_to_be_away() -> None:
    lab = stores("n", "asleep", "left", "silent", "there")
    lab.handle(LivenessReported("asleep", "a", going_to_sleep=True))
    lab.handle(NodeDetached("left", "s-left", left=True))
    lab.handle(NodeDetached("silent", "s-silent"))
    for _ in range(60):
        lab.advance(2)
        lab.handle(LivenessReported("there", "a"))
        lab.handle(LivenessReported("n", "a", {"beside": BEGAN}))
    lab.handle(RejoinRequested("n", ("a",), Cause.PARTITION, bridge=("asleep", "left", "silent")))
    named = {peer.peer_id for peer in lab.starts[-1][1].bootstrap}
    assert named == {"there", "beside"}, "that a peer which never reported here is silent proves nothing"


def test_the_ladder_has_an_order_of_its_own() -> None:
    assert sorted(Rung) != list(LADDER)
    assert set(LADDER) == set(Rung)
    assert higher(Rung.ASK_PEER, Rung.RESTART_ADVISED) is Rung.RESTART_ADVISED
    assert higher(Rung.RESUBSCRIBE, Rung.ASK_PEER) is Rung.ASK_PEER


def test_no_client_can_name_that_a_node_was_asked() -> None:
    assert (Cause.ASKED.named_by, Cause.ASKED.is_refutable, Cause.ASKED.is_proved_by_recovery) == (
        NamedBy.SERVICE, False, False,
    )  # fmt: skip
