"""Presence: ONLINE, SUSPECT, OFFLINE, ASLEEP, LEFT or UNKNOWN."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.event import (
    LivenessEvent,
    NeighborChanged,
    NodesSlept,
    NodesWoke,
    SyncFinished,
)
from gossipcontrol.server.core.finding import PresenceChanged
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.presence import DEPARTURE_GRACE
from gossipcontrol.server.core.presence.record import PeerRecord, PeerState

from tests.kit.liveness_lab import Lab

ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE
ASLEEP, LEFT, UNKNOWN = PeerState.ASLEEP, PeerState.LEFT, PeerState.UNKNOWN


def test_a_peer_is_online_once_heard_and_unknown_while_only_named() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.5, "q": None})
    assert list(lab.liveness.peers("a")) == [
        PeerRecord("n", ONLINE, 1000.0, 0),
        PeerRecord("p", ONLINE, 999.5, 1),
        PeerRecord("q", UNKNOWN, None, 0),
    ]
    lab.report("n", {"q": 0.5})
    assert lab.state("q") is ONLINE


def test_observers_are_fused_and_counted_once_each_but_never_the_peer_itself() -> None:
    lab = Lab()
    lab.report("n", {"p": 3.0})
    lab.report("m", {"p": 1.0})
    lab.report("m", {"p": 2.0})
    lab.report("p", {"p": 0.0})
    assert {one.peer_id: one.observers for one in lab.liveness.peers("a")} == {"m": 0, "n": 0, "p": 2}


def test_the_newest_sign_of_life_counts_in_any_order() -> None:
    lab = Lab()
    for observer, age in (("n", 3.0), ("m", 1.0), ("n", 2.0)):
        lab.report(observer, {"p": age}, neighbors=[("q", age)])
    peers = {one.peer_id: one.heard_at for one in lab.liveness.peers("a")}
    assert (peers["p"], peers["q"]) == (999.0, 999.0)


def test_a_steady_peer_that_falls_silent_is_suspected_soon_and_offline_in_time(heard: Lab) -> None:
    found = heard.watch(60)
    assert found is not None
    assert found <= heard.parameters.suspect_ceiling / 3
    heard.advance(heard.parameters.offline_after)
    assert heard.state() is OFFLINE


@pytest.mark.parametrize("rhythm", [9.0, 15.0])
def test_a_peer_with_a_slow_rhythm_gets_a_longer_timeout(rhythm: float) -> None:
    """A false suspicion lengthens the timeout."""
    lab = Lab()
    lab.report("n", {"p": 0.0})
    lab.converse(600, every=rhythm)
    found = lab.watch(60)
    assert found is not None
    assert rhythm < found <= lab.parameters.suspect_ceiling
    changes = lab.liveness.changes("a", 0)
    assert changes is not None
    assert len([one for one in changes if one[2] == "p"]) <= 12


def test_silence_of_all_observers_proves_nothing_up_to_the_ceiling(heard: Lab) -> None:
    heard.advance(heard.parameters.suspect_ceiling - 1.5)
    assert heard.state() is ONLINE
    heard.advance(3.0)
    assert heard.state() is SUSPECT


def test_a_late_report_proves_less() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0})
    lab.converse(60)
    lab.advance(20)
    lab.report("n", {"p": 20.0})
    assert lab.state() is ONLINE, "the observer itself had stopped for 20 s"
    lab.advance(2)
    lab.report("n", {"p": 22.0})
    assert lab.state() is SUSPECT


@pytest.mark.parametrize(
    "word", [NeighborChanged("n", "a", "x", False, 0.0), SyncFinished("n", "a", "x", False, "no answer")]
)
def test_another_event_just_before_does_not_make_a_late_report_punctual(word: LivenessEvent) -> None:
    lab = Lab()
    lab.attach("n")
    lab.report("n", {"p": 0.0})
    lab.converse(60)
    lab.advance(14)
    lab.handle(word)
    lab.advance(0.05)
    lab.report("n", {"p": 14.0})
    assert lab.state() is ONLINE, "the observer itself had stopped for 14 s"


def test_the_first_report_after_a_lost_stream_proves_nothing(heard: Lab) -> None:
    heard.attach("n")
    heard.report("n", {"p": 0.0})
    heard.detach("n")
    heard.attach("n")
    heard.advance(8)
    heard.report("n", {"p": 8.0})
    assert heard.state() is ONLINE
    heard.advance(2)
    heard.report("n", {"p": 10.0})
    assert heard.state() is SUSPECT


def test_a_report_of_the_peer_itself_is_a_sign_of_life(heard: Lab) -> None:
    for _ in range(10):
        heard.advance(2)
        heard.report("n", {"p": 30.0})
        heard.report("p")
    assert heard.state() is ONLINE


def test_a_silence_ends_with_the_peers_own_report_as_well(heard: Lab) -> None:
    for second in range(2, 400, 2):
        heard.advance(2)
        heard.report("p")
        heard.report("n", {"p": 0.0 if second % 20 == 0 else second % 20})
    found = heard.watch(60)
    assert found is not None
    assert found <= 8  # it was never silent for longer than two seconds, though heard only every twenty


def test_no_sign_of_life_comes_from_the_future(heard: Lab) -> None:
    heard.report("n", {"p": -100.0})
    heard.advance(heard.parameters.suspect_ceiling + 1)
    assert heard.state() is not ONLINE


def test_a_peer_never_evicts_the_node_that_reports_it() -> None:
    lab = Lab(LivenessParameters(peers_per_store=1))
    lab.report("n", {"p": -5.0})
    assert [(one.peer_id, one.state) for one in lab.liveness.peers("a")] == [("n", ONLINE)]


def test_a_neighbour_coming_up_is_a_sign_of_life_but_being_listed_is_not(heard: Lab) -> None:
    for _ in range(10):
        heard.advance(2)
        heard.report("n", {}, neighbors=[("p", 60.0)])
    assert heard.state() is SUSPECT
    heard.handle(NeighborChanged("n", "a", "p", True, heard.now))
    assert heard.state() is ONLINE


def test_a_lost_neighbour_is_no_sign_of_life(heard: Lab) -> None:
    heard.handle(NeighborChanged("n", "a", "q", False, heard.now))
    assert heard.state("q") is None


def test_a_direct_sync_is_a_sign_of_life_unless_it_failed(heard: Lab) -> None:
    heard.advance(100)
    heard.handle(SyncFinished("n", "a", "p", False, "no answer"))
    assert heard.state() is OFFLINE
    heard.handle(SyncFinished("n", "a", "p", True))
    assert heard.state() is ONLINE


def test_announced_sleep_is_no_failure_and_ends_with_the_next_report(heard: Lab) -> None:
    heard.report("p", asleep=True)
    heard.advance(3600)
    assert heard.state() is ASLEEP
    heard.report("p")
    assert heard.state() is ONLINE


def test_a_further_registration_of_one_stream_neither_wakes_a_node_nor_distrusts_its_reports() -> None:
    lab = Lab()
    for node_id in ("n", "p"):
        lab.attach(node_id)
    for _ in range(10):
        for node_id, peer_id in (("n", "p"), ("p", "n")):
            lab.report(node_id, {peer_id: 0.5})
        lab.advance(2.0)
    lab.report("p", asleep=True)
    for _ in range(10):
        lab.attach("p")  # its addresses settle
        lab.attach("n")
        lab.report("n", {"silent": 0.5} if lab.state("silent") is None else {})
        lab.advance(2.0)
    assert lab.state("p") is ASLEEP
    assert lab.state("silent") in (SUSPECT, OFFLINE), "n is believed to hear nothing of it"


def test_messages_in_flight_do_not_wake_a_sleeping_peer_but_later_ones_do(heard: Lab) -> None:
    heard.report("p", asleep=True)
    heard.advance(1.0)
    heard.report("n", {"p": 0.5})
    assert heard.state() is ASLEEP
    heard.advance(DEPARTURE_GRACE)
    heard.report("n", {"p": 0.5})
    assert heard.state() is ONLINE


def test_a_host_that_sleeps_takes_its_nodes_with_it_and_wakes_them() -> None:
    lab = Lab()
    lab.attach("p", "a", "b")
    lab.handle(NodesSlept(("p", "nobody")))
    assert (lab.state("p", "a"), lab.state("p", "b")) == (ASLEEP, ASLEEP)
    lab.advance(600)
    lab.handle(NodesWoke(("p", "nobody")))
    assert (lab.state("p", "a"), lab.state("p", "b")) == (ONLINE, ONLINE)


def test_a_peer_that_said_goodbye_has_left_until_it_attaches_or_is_heard(heard: Lab) -> None:
    heard.attach("p")
    heard.detach("p", left=True)
    heard.advance(600)
    assert heard.state() is LEFT
    heard.handle(NodesWoke(("p",)))
    assert heard.state() is LEFT, "its host woke, but it had left"
    heard.attach("p")
    assert heard.state() is ONLINE
    heard.detach("p", left=True)
    heard.advance(60)
    heard.report("n", {"p": 1.0})
    assert heard.state() is ONLINE


def test_the_goodbye_of_a_replaced_stream_is_ignored() -> None:
    lab = Lab()
    lab.attach("p", session_id="s1")
    lab.attach("p", session_id="s2")
    lab.detach("p", left=True, session_id="s1")
    assert lab.state() is ONLINE


def test_a_lost_stream_is_no_goodbye() -> None:
    lab = Lab()
    lab.attach("p")
    lab.detach("p")
    assert lab.state() is ONLINE


def test_a_mute_peer_is_not_online_by_its_own_reports(heard: Lab) -> None:
    for _ in range(15):
        heard.advance(2)
        heard.report("n", {"p": 60.0})
        heard.report("p")
    presence = heard.liveness.presence
    presence.set_mute("a", "p", True, heard.now)
    assert heard.state() is SUSPECT
    heard.advance(1)
    heard.report("p")
    assert heard.state() is SUSPECT
    heard.advance(heard.parameters.offline_after)
    assert heard.state() is OFFLINE
    presence.set_mute("a", "p", False, heard.now)
    heard.report("p")
    assert heard.state() is ONLINE


def test_a_mute_peer_that_several_miss_is_online_again_once_two_heard_it(heard: Lab) -> None:
    presence = heard.liveness.presence
    presence.set_mute("a", "p", True, heard.now)
    presence.set_outvoted("a", "p", "p", heard.now, heard.now)
    for _ in range(20):
        heard.advance(2)
        heard.report("p")
        heard.report("liar", {"p": 0.0})
    assert heard.state() is OFFLINE
    heard.report("n", {"p": 1.0})
    assert heard.state() is ONLINE, "though the liar claims to have heard it later"
    presence.set_mute("a", "p", False, heard.now)
    presence.set_mute("a", "p", True, heard.now)
    heard.advance(heard.parameters.suspect_ceiling / 2)
    heard.report("liar", {"p": 0.0})
    assert heard.state() is ONLINE, "nothing of it is left once a peer is no longer mute"


def test_presence_answers_state_and_online_peers(heard: Lab) -> None:
    heard.report("n", {"q": None})
    presence = heard.liveness.presence
    online = presence.online("a")
    assert sorted(online) == ["n", "p"]
    assert (len(online), "p" in online, "q" in online) == (2, True, False)
    assert (presence.state("a", "q"), presence.state("a", "x"), presence.state("b", "p")) == (UNKNOWN, None, None)
    assert list(presence.online("b")) == []


def test_after_a_restart_nobody_is_offline_before_a_report_interval_has_passed() -> None:
    lab = Lab()
    lab.report("n", {"p": 3600.0})
    assert lab.state() is SUSPECT
    lab.advance(lab.parameters.report_interval + 0.1)
    assert lab.state() is OFFLINE


def test_an_old_peer_is_forgotten_and_so_is_an_empty_store() -> None:
    lab = Lab(LivenessParameters(peer_age=600.0))
    lab.report("n", {"p": 0.0, "named": None})
    lab.advance(601)
    assert lab.liveness.peer_total == 0
    assert lab.findings[-1] == PresenceChanged("a")
    assert lab.liveness.changes("a", 0) is None


def test_a_peer_older_than_the_age_limit_is_not_added() -> None:
    lab = Lab(LivenessParameters(peer_age=600.0))
    lab.report("n")
    version = lab.liveness.view("a").version
    for _ in range(10):
        lab.advance(2)
        lab.report("n", {"p": 600.0, "named": None}, neighbors=[("q", 700.0)])
    assert len([one for one in lab.findings if isinstance(one, PresenceChanged)]) == 2
    assert [one.peer_id for one in lab.liveness.peers("a")] == ["n", "named"]
    assert lab.liveness.view("a").version == version + 1
    lab.report("n", {"p": 599.0})
    assert lab.state() is OFFLINE


def test_a_peer_forgotten_while_overdue_is_not_evaluated_again() -> None:
    lab = Lab(LivenessParameters(peer_age=60.0))
    lab.report("n", {"p": 0.0})
    lab.advance(40)  # p is overdue, though no observer has proved it
    lab.attach("n")
    lab.advance(30)
    lab.report("n")
    assert [one.peer_id for one in lab.liveness.peers("a")] == ["n"]


@pytest.mark.parametrize("parameters", [LivenessParameters(peers_per_store=3), LivenessParameters(peer_limit=3)])
def test_the_peer_longest_unheard_is_evicted_for_one_heard_later(parameters: LivenessParameters) -> None:
    lab = Lab(parameters)
    lab.report("n", {"old": 5.0, "named": None})
    lab.report("n", {"new": 1.0})
    assert [one.peer_id for one in lab.liveness.peers("a")] == ["n", "new", "old"]
    lab.report("n", {"older": 9.0, "unheard": None})
    assert [one.peer_id for one in lab.liveness.peers("a")] == ["n", "new", "old"]
    lab.report("m")
    assert [one.peer_id for one in lab.liveness.peers("a")] == ["m", "n", "new"]


def test_a_reused_row_starts_with_no_learned_rhythm() -> None:
    lab = Lab(LivenessParameters(peers_per_store=2))
    lab.report("n", {"slow": 0.0})
    lab.converse(600, "slow", every=15.0)
    lab.advance(1.0)
    lab.report("n", {"q": 0.0})
    assert lab.state("slow") is None
    found = lab.watch(60, "q")
    assert found is not None
    assert 2 < found <= 12


def test_a_full_service_evicts_from_the_newcomers_own_store() -> None:
    lab = Lab(LivenessParameters(peer_limit=4))
    lab.report("n", {"p": 3600.0}, store_id="old")
    lab.report("n", {"q": 5.0})
    lab.report("n", {"r": 1.0})
    assert [one.peer_id for one in lab.liveness.peers("old")] == ["n", "p"]
    assert [one.peer_id for one in lab.liveness.peers("a")] == ["n", "r"]


def test_a_full_service_tracks_no_further_store_but_loses_no_report() -> None:
    lab = Lab(LivenessParameters(peer_limit=2))
    lab.report("n", {"p": 0.0})
    lab.report("n", {"p": 0.0, "q": None}, store_id="b")
    assert lab.liveness.peer_total == 2
    assert list(lab.liveness.peers("b")) == []
    assert lab.liveness.view("b").peers == ()


def test_peers_heard_last_come_first(heard: Lab) -> None:
    heard.advance(1)
    heard.report("n", {"q": 3.0, "named": None})
    heard.report("n", {"p": 0.0})
    assert next(heard.liveness.last_heard("a")) == ("p", heard.now, False)
    assert "named" not in {peer_id for peer_id, *_ in heard.liveness.last_heard("a")}
    assert list(heard.liveness.last_heard("b")) == []


def test_whether_a_node_is_alone_in_its_store() -> None:
    lab = Lab()
    assert not lab.liveness.has_others("a", "n")
    lab.report("n")
    assert not lab.liveness.has_others("a", "n")
    assert lab.liveness.has_others("a", "p")
    lab.report("n", {"p": None})
    assert lab.liveness.has_others("a", "n")


def test_the_gauges_follow() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0, "q": None})
    lab.report("n", {"p": 0.0}, store_id="b")
    assert lab.liveness.counts().peers == {ONLINE: 4, SUSPECT: 0, OFFLINE: 0, ASLEEP: 0, LEFT: 0, UNKNOWN: 1}
    assert lab.liveness.store_counts("b").peers[ONLINE] == 2
    lab.advance(100)
    assert lab.liveness.counts().peers[OFFLINE] == 4
    lab.liveness.forget_store("a")
    assert lab.liveness.counts().peers == {ONLINE: 0, SUSPECT: 0, OFFLINE: 2, ASLEEP: 0, LEFT: 0, UNKNOWN: 0}
