"""Puts the names of nodes, as their agents gave them, into answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gossipcontrol.v1 import decision_pb2, gossip_control_pb2, liveness_pb2


class Naming:
    """Completes messages; ``name`` gives the name of a node, empty where it has none."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name

    def peers(self, messages: Iterable[liveness_pb2.PeerView]) -> None:
        """Peers of a store."""
        for one in messages:
            if name := self._name(one.peer_id):
                one.name = name

    def nodes(self, messages: Iterable[decision_pb2.Rejoin | decision_pb2.Decision]) -> None:
        """Rejoins, or decisions."""
        for one in messages:
            if name := self._name(one.node_id):
                one.node_name = name

    def explanations(self, response: gossip_control_pb2.ExplainResponse) -> None:
        """All that an answer explains."""
        self.nodes(response.decisions)
        self.nodes(one.decision for one in response.explanations)
        self.nodes(response.rejoins)
