"""Syncs that wait for a node's next report."""

from __future__ import annotations

from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.runtime.sync_queue import QUEUED_NODES, SYNCS_PER_NODE, SyncQueue


def test_a_sync_is_queued_once_and_popped_once() -> None:
    queue = SyncQueue()
    for peer in ("p", "q", "p"):
        queue.put(SyncWanted("n", "s", peer))
    queue.put(SyncWanted("m", "s", "p"))
    assert [one.peer_id for one in queue.pop("n")] == ["p", "q"]
    assert queue.pop("n") == []
    assert len(queue.pop("m")) == 1


def test_it_is_bounded_and_the_oldest_go_first() -> None:
    queue = SyncQueue()
    for number in range(SYNCS_PER_NODE + 2):
        queue.put(SyncWanted("n", "s", f"p{number}"))
    assert [one.peer_id for one in queue.pop("n")] == [f"p{number}" for number in range(2, SYNCS_PER_NODE + 2)]
    for number in range(QUEUED_NODES + 1):
        queue.put(SyncWanted(f"n{number}", "s", "p"))
    assert queue.pop("n0") == []
    assert queue.pop("n1") != []
