"""What must hold between the parts of a core after an event: checked in every run of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.decision import DecisionKind
from gossipcontrol.server.core.effect import AnswerTrigger, RefuseNode
from gossipcontrol.server.core.event import (
    ChangeKind,
    LivenessReported,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.sim.record import Taken


def breaches(core: Core, taken: Taken) -> list[str]:
    """What is wrong right after an event, as sentences that begin with the rule's name."""
    check = _CHECKS.get(type(taken.event))
    return list(check(core, taken)) if check is not None else []


def _attached(core: Core, taken: Taken) -> Iterator[str]:
    """Liveness hears nothing of a registration that was refused."""
    event = taken.event
    assert isinstance(event, NodeAttached)
    refused = any(isinstance(effect, RefuseNode) for effect in taken.effects)
    for store_id in event.store_ids if refused else ():
        if _state(core, store_id, event.node_id) is not None:
            yield f"refused: {event.node_id} was refused at {taken.at:.3f} and is a peer of {store_id}"


def _found(core: Core, taken: Taken) -> Iterator[str]:
    """What the service found itself is a trigger only where an agent can act on it, and so is never parked."""
    del core
    for effect in taken.effects:
        for decision in effect.decisions if isinstance(effect, AnswerTrigger) else ():
            if decision.kind is DecisionKind.PARKED:
                yield f"asked: a finding about {decision.node_id} at {taken.at:.3f} is parked, for nobody can act on it"


def _changed(core: Core, taken: Taken) -> Iterator[str]:
    """The nodes of a host that announced its sleep are asleep, and awake once it has resumed."""
    event = taken.event
    assert isinstance(event, NetworkChanged)
    if any(isinstance(effect, AnswerTrigger) and effect.replayed for effect in taken.effects):
        return
    for node_id in event.node_ids or core.deciding.registry.nodes_on(event.host_id):
        node = core.deciding.registry.nodes.get(node_id)
        for store_id in node.slots if node is not None and node.attached else ():
            state = _state(core, store_id, node_id)
            if event.kind is ChangeKind.SLEEPING and state is not PeerState.ASLEEP:
                yield f"sleep: {node_id} announced its sleep at {taken.at:.3f} and is {state} in {store_id}"
            if event.kind is ChangeKind.RESUMED and state is PeerState.ASLEEP:
                yield f"sleep: the host of {node_id} resumed at {taken.at:.3f}, and it is asleep in {store_id}"


def _synced(core: Core, taken: Taken) -> Iterator[str]:
    """The result of a sync makes nobody known."""
    event = taken.event
    assert isinstance(event, SyncFinished)
    is_known = core.deciding.registry.find_slot(event.node_id, event.store_id) is not None
    if not is_known and _state(core, event.store_id, event.node_id) is not None:
        yield f"strangers: a sync result at {taken.at:.3f} made {event.node_id} a peer of {event.store_id}"


def _state(core: Core, store_id: str, peer_id: str) -> PeerState | None:
    return next((peer.state for peer in core.liveness.peers(store_id) if peer.peer_id == peer_id), None)


_CHECKS: dict[type[object], Callable[[Core, Taken], Iterator[str]]] = {
    NodeAttached: _attached,
    NodeDetached: _found,
    LivenessReported: _found,
    TimePassed: _found,
    NetworkChanged: _changed,
    SyncFinished: _synced,
}
