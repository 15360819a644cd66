"""Whom a node should dial: the freshest peers that it does not hear already."""

from __future__ import annotations

from gossipcontrol.server.core.effect import BootstrapPeer
from gossipcontrol.server.core.registry import Registry, Slot


def choose_bootstrap(slot: Slot, fanout: int, since: float) -> tuple[str, ...]:
    """At most ``fanout`` peers, freshest first, without neighbours that gave a sign of life after ``since``."""
    chosen: list[str] = []
    for peer_id in slot.store.sightings.freshest():
        if peer_id == slot.node.node_id or slot.neighbors.get(peer_id, float("-inf")) > since:
            continue
        chosen.append(peer_id)
        if len(chosen) == fanout:
            break
    return tuple(chosen)


def add_addresses(registry: Registry, peer_ids: tuple[str, ...]) -> tuple[BootstrapPeer, ...]:
    """The peers with the addresses that their agents registered."""
    nodes = [(peer_id, registry.nodes.get(peer_id)) for peer_id in peer_ids]
    return tuple(BootstrapPeer(peer_id, node.addresses if node else ()) for peer_id, node in nodes)
