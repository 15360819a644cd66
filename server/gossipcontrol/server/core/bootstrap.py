"""Whom a node should dial: the freshest peers that it does not hear already."""

from __future__ import annotations

from gossipcontrol.server.core.effect import BootstrapPeer
from gossipcontrol.server.core.registry import Registry, Slot


def choose_bootstrap(registry: Registry, slot: Slot, fanout: int, since: float) -> tuple[BootstrapPeer, ...]:
    """At most ``fanout`` peers, freshest first, without neighbours that gave a sign of life after ``since``."""
    chosen: list[BootstrapPeer] = []
    for peer_id in slot.store.sightings.freshest():
        if peer_id == slot.node.node_id or slot.neighbors.get(peer_id, float("-inf")) > since:
            continue
        node = registry.nodes.get(peer_id)
        chosen.append(BootstrapPeer(peer_id, node.addresses if node else ()))
        if len(chosen) == fanout:
            break
    return tuple(chosen)
