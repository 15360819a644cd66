"""Versions, deltas and changes, from which watchers and reporters are served."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.finding import PresenceChanged
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerRecord, PeerState

from tests.kit.liveness_lab import Lab


def test_a_view_holds_all_and_a_delta_what_changed_since() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0})
    view = lab.liveness.view("a")
    assert ([one.peer_id for one in view.peers], view.delta) == (["n", "p"], False)
    lab.report("n", {"q": 0.0})
    delta = lab.liveness.view("a", view.version)
    assert ([one.peer_id for one in delta.peers], delta.delta, delta.version) == (["q"], True, view.version + 1)
    assert lab.liveness.view("a", delta.version).peers == ()


def test_a_delta_names_what_was_forgotten() -> None:
    lab = Lab(LivenessParameters(peers_per_store=2))
    lab.report("n", {"p": 5.0})
    version = lab.liveness.view("a").version
    lab.report("n", {"q": 0.0})
    delta = lab.liveness.view("a", version)
    assert ([one.peer_id for one in delta.peers], delta.removed) == (["q"], ("p",))


def test_an_outdated_or_unknown_version_gets_a_full_view() -> None:
    lab = Lab(LivenessParameters(change_limit=2))
    lab.report("n", {"p": 0.0, "q": 0.0})
    assert not lab.liveness.view("a", 0).delta
    assert lab.liveness.changes("a", 0) is None
    assert not lab.liveness.view("a", 99).delta
    assert lab.liveness.changes("a", 99) is None
    assert lab.liveness.view("a", 1).delta


def test_a_limited_view_lists_the_peers_heard_last() -> None:
    lab = Lab()
    lab.report("n", {"old": 9.0, "older": 10.0, "named": None})
    lab.advance(1)
    lab.report("n", {"z": 0.0, "b": 0.0, "named too": None})
    assert [one.peer_id for one in lab.liveness.view("a", most=3).peers] == ["b", "n", "z"]
    assert {"named", "named too"}.isdisjoint(one.peer_id for one in lab.liveness.view("a", most=5).peers)
    assert len(lab.liveness.view("a", most=6).peers) == 6
    assert lab.liveness.view("a", most=7) == lab.liveness.view("a")


def test_a_delta_beyond_the_limit_becomes_a_full_view() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0})
    version = lab.liveness.view("a").version
    lab.report("n", {"q": 0.0, "r": 0.0})
    assert lab.liveness.view("a", version, most=2).delta
    view = lab.liveness.view("a", version, most=1)
    assert (view.delta, len(view.peers)) == (False, 1)


def test_a_view_costs_no_more_records_than_it_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    lab.report("n", {f"p{number}": 1.0 for number in range(100)})
    table, rows = lab.liveness.presence.table, list[int]()
    record = table.record

    def counted(row: int) -> PeerRecord:
        rows.append(row)
        return record(row)

    monkeypatch.setattr(table, "record", counted)
    for since in (None, 0):
        rows.clear()
        assert len(lab.liveness.view("a", since, most=10).peers) == len(rows) == 10


def test_changes_come_in_order_without_gaps() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0})
    lab.advance(100)
    changes = lab.liveness.changes("a", 0)
    assert changes is not None
    assert [version for version, _, _ in changes] == list(range(1, 7))
    states = [peer.state for _, peer, peer_id in changes if peer and peer_id == "p"]
    assert states == [PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE]


def test_each_event_reports_a_changed_store_once() -> None:
    lab = Lab()
    assert lab.report("n", {"p": 0.0, "q": 0.0}) == [PresenceChanged("a")]
    assert lab.report("n", {"p": 0.0, "q": 0.0}) == []
    assert lab.attach("n", "a", "b") == [PresenceChanged("b")]


def test_a_store_that_returns_starts_above_its_old_versions() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0})
    version = lab.liveness.view("a").version
    lab.liveness.forget_store("a")
    lab.liveness.forget_store("a")
    assert lab.liveness.changes("a", version) is None
    empty = lab.liveness.view("a", version)
    assert (empty.peers, empty.delta) == ((), False)
    assert empty.version > version
    assert lab.report("m", {}) == [PresenceChanged("a")]
    again = lab.liveness.changes("a", empty.version)
    assert again is not None
    assert [peer_id for _, _, peer_id in again] == ["m"]


def test_a_forgotten_store_is_reported_with_the_next_event() -> None:
    lab = Lab()
    lab.report("n", {"p": 0.0})
    lab.liveness.forget_store("a")
    assert PresenceChanged("a") in lab.report("n", {}, store_id="b")
