"""The events of knowledge: past tense, frozen, its only input."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.knowledge.intention import Intention


@dataclass(frozen=True, slots=True)
class IntentionsRecorded:
    """A batch of intentions of one store arrived. A sender that numbers its batches can resume a broken stream."""

    store_id: str
    intentions: tuple[Intention, ...]
    sender_id: str = ""
    sequence: int = 0
    identity: str = ""
    """Whose word they are; empty: that of somebody who may speak for every author."""
    authored: bytes = b""
    """With an identity, 1 for each intention that is its author's own word, else 0."""


@dataclass(frozen=True, slots=True)
class Member:
    """A peer, and the lowest incarnation it may be in."""

    peer_id: str
    incarnation: str = ""
    lower: bool = False
    """Whether it is in this one even if it was in a greater, which counts no longer."""


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """Peers joined a store, or left it for good. A peer that authors is a member unless it was removed."""

    store_id: str
    added: tuple[Member, ...] = ()
    removed: tuple[str, ...] = ()
    hold: float = 0.0
    """Seconds for which the removed still count, so that an undo within them restores everything."""
    undo: bool = False
    """Whether the newest change that can be undone is undone; nothing else is changed then."""


KnowledgeEvent = IntentionsRecorded | MembersChanged
