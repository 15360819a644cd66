"""Compares a tracker with the oracle, answer by answer."""

from __future__ import annotations

from gossipcontrol.server.core.knowledge.answer import (
    at_risk,
    behind_by_author,
    holders,
    knowledge,
    lags,
    positions,
    unshared,
)
from gossipcontrol.server.core.knowledge.tracker import Tracker

from tests.core.knowledge.oracle import Oracle, View


def settle(tracker: Tracker) -> None:
    """Let the tracker go on until nothing is pending, as the service does between other events."""
    for _ in range(100_000):
        if not tracker.is_pending:
            return
        tracker.record((), 1.0)
    raise AssertionError("something is pending for ever")


def check_same(tracker: Tracker, oracle: Oracle) -> None:
    """Fail unless the tracker gives the oracle's answers once it has settled."""
    settle(tracker)
    view = View(oracle)
    assert tracker.peers() == view.peers
    assert {one.hash for one in tracker.floating.intentions()} == view.floating
    assert tracker.graph.forks == view.forks()
    for peer in view.peers:
        shown = knowledge(tracker, peer)
        assert shown.incarnation == view.incarnation(peer)
        assert shown.active == (peer in view.active)
        assert shown.held == len(view.held[peer])
        assert heads(tracker, tracker.vector(peer)) == view.heads(view.held[peer])
        behind = next(lags(tracker, [peer]))
        assert dict(behind.authors) == view.behind(view.held[peer])
        assert behind.behind == sum(dict(behind.authors).values())
    stable = view.frontier()
    assert heads(tracker, tracker.frontier()) == view.heads(stable)
    assert behind_by_author(tracker, tracker.frontier()) == view.behind(stable)
    assert at_risk(tracker) == view.at_risk()
    assert {one.author_id: one.writes for one in unshared(tracker, "s", 1e9)} == view.unshared()
    for name in list(view.all)[:: max(1, len(view.all) // 50)]:
        assert holders(tracker, name) == view.holders(name)


def heads(tracker: Tracker, vector: int) -> set[tuple[str, int, bytes, str]]:
    return {(one.author_id, one.position, one.hash, one.incarnation) for one in positions(tracker, vector)}
