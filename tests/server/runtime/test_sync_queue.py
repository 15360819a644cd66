"""Syncs that wait for a node's next report."""

from __future__ import annotations

from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.runtime.sync_queue import NODES, PER_NODE, SyncQueue


def test_a_sync_waits_once_and_is_taken_once() -> None:
    queue = SyncQueue()
    for peer in ("p", "q", "p"):
        queue.put(SyncWanted("n", "s", peer))
    queue.put(SyncWanted("m", "s", "p"))
    assert [one.peer_id for one in queue.take("n")] == ["p", "q"]
    assert queue.take("n") == []
    assert len(queue.take("m")) == 1


def test_it_is_bounded_and_the_oldest_go_first() -> None:
    queue = SyncQueue()
    for number in range(PER_NODE + 2):
        queue.put(SyncWanted("n", "s", f"p{number}"))
    assert [one.peer_id for one in queue.take("n")] == [f"p{number}" for number in range(2, PER_NODE + 2)]
    for number in range(NODES + 1):
        queue.put(SyncWanted(f"n{number}", "s", "p"))
    assert queue.take("n0") == []
    assert queue.take("n1") != []
