"""A store at one instant, for answers that are computed in slices while the store goes on.

Vectors are integers, columns only grow at their ends, and forgetting replaces them; so references make a copy.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from gossipcontrol.server.core.knowledge.tracker import Tracker


class ChainView(NamedTuple):
    """A chain at one instant."""

    author_id: str
    label: str
    parent: int
    offset: int
    length: int
    first: int
    forgotten_acks: int
    acks: array[int]
    hashes: list[bytes]

    def contents(self, count: int) -> int:
        """How many of the first ``count`` intentions carry content; a lower bound below ``first``."""
        if count < self.first:
            return max(0, count - self.forgotten_acks)
        return count - self.forgotten_acks - bisect_right(self.acks, count)

    def hash_at(self, count: int) -> bytes:
        """The hash at a count; empty when it is forgotten."""
        return self.hashes[count - self.first] if count >= self.first else b""


class PeerView(NamedTuple):
    """A peer at one instant, in its newest incarnation."""

    vector: int
    proved_at: float | None
    is_active: bool


class View:
    """The chains, and these peers or all of them by id; taken within milliseconds."""

    def __init__(self, tracker: Tracker, peer_ids: Iterable[str] | None = None) -> None:
        graph = tracker.graph
        self.guard = graph.guard
        self.branches_off = [(chain.number, chain.parent) for chain in graph.branches_off]
        self.chains = [
            ChainView(
                chain.incarnation.author_id, chain.incarnation.label, chain.parent, chain.offset, chain.length,
                chain.first, chain.forgotten_acks, chain.acks, chain.hashes,
            )
            for chain in graph.chains
        ]  # fmt: skip
        self.peers: dict[str, PeerView] = {}
        newest, removed, peers = tracker.newest, tracker.membership.removed, self.peers
        for peer_id in tracker.peers() if peer_ids is None else peer_ids:
            incarnation, is_active = newest[peer_id], peer_id not in removed
            peers[peer_id] = (
                PeerView(incarnation.vector, incarnation.proved_at, is_active)
                if incarnation
                else PeerView(0, None, is_active)
            )
