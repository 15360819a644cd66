"""The presence of a store's peers, kept up to date from snapshots and changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gossipcontrol.client.clock import boottime
from gossipcontrol.client.enumeration import PeerState


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of a store."""

    peer_id: str
    state: PeerState
    heard_age: float | None
    """Seconds since its last sign of life; None when there was none."""
    observers: int
    """Nodes that have heard it."""
    name: str = ""
    """What people call it, as its agent said; empty when it has no name."""


@dataclass(frozen=True, slots=True)
class PeerChange:
    """A peer came, went, or changed its state; None stands for absent."""

    peer_id: str
    before: PeerState | None
    after: PeerState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreView:
    """The service's view of a store, or what changed of it."""

    store_id: str = ""
    peers: tuple[Peer, ...] = ()
    version: int = 0
    delta: bool = False
    """Whether it is laid over what the reader has; else it replaces that."""
    removed_peer_ids: tuple[str, ...] = ()
    settling: float = 0.0
    """Seconds for which it may lack peers, because the service started or took over a moment ago."""


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """A snapshot of a store's presence, a part of one, or a change."""

    view: StoreView
    resume_token: str
    """Names this place in the stream; empty while parts of a snapshot are to follow."""
    lagged: bool
    """Whether changes were left out before this snapshot."""

    @property
    def more(self) -> bool:
        """Whether further parts of the snapshot follow."""
        return not self.resume_token


class Presence:
    """One store's peers; ages go on growing between two updates.

    A service that has just started or taken over does not know yet who is there. What was held before of peers that it
    does not name, or has not heard, is kept until its view has settled.
    """

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._peers: dict[str, tuple[Peer, float]] = {}
        self._unnamed: set[str] = set()
        """Held before the snapshot that arrives in parts, and not named by any part so far."""
        self._kept: dict[str, Peer | None] = {}
        """What the service says of peers that are shown as they were before; None: nothing."""
        self._settles_at = 0.0
        self.version = 0
        """Of the view that is held; 0: none is."""

    @property
    def settles_in(self) -> float | None:
        """Seconds until ``settle`` may change something; None: it will not."""
        return max(0.0, self._settles_at - self._clock()) if self._kept else None

    def apply(self, view: StoreView, *, more: bool = False) -> list[PeerChange]:
        """Apply a view or a difference; returns what it changed.

        ``more``: further parts of a snapshot follow, and only the last one shows who is gone.
        """
        now = self._clock()
        changes = self.settle()
        if not view.delta:
            self._unnamed = set(self._peers)
            self._settles_at = now + view.settling
            if not view.settling:
                self._kept.clear()
        self._unnamed.difference_update(peer.peer_id for peer in view.peers)
        changes += [self._take(peer, now) for peer in view.peers]
        changes += [self._drop(peer_id) for peer_id in view.removed_peer_ids]
        if not more:
            changes += [self._miss(peer_id, now) for peer_id in sorted(self._unnamed)]
            self._unnamed.clear()
        self.version = view.version
        return [change for change in changes if change.before != change.after]

    def settle(self) -> list[PeerChange]:
        """Let go of what was kept until now, if its time is over; returns what that changed."""
        now = self._clock()
        if now < self._settles_at:
            return []
        kept, self._kept = self._kept, {}
        changes = [self._drop(one) if peer is None else self._put(peer, now) for one, peer in kept.items()]
        return [change for change in changes if change.before != change.after]

    def peers(self) -> list[Peer]:
        """The peers by id."""
        return [found for peer_id in sorted(self._peers) if (found := self.peer(peer_id))]

    def peer(self, peer_id: str) -> Peer | None:
        """One peer."""
        if peer_id in self._kept and self._clock() >= self._settles_at:
            return self._kept[peer_id]
        held = self._peers.get(peer_id)
        return self._aged(*held) if held else None

    def _take(self, peer: Peer, now: float) -> PeerChange:
        held = self._peers.get(peer.peer_id)
        if held and peer.state is PeerState.UNKNOWN and now < self._settles_at:
            self._kept[peer.peer_id] = peer
            return PeerChange(peer.peer_id, held[0].state, held[0].state)
        return self._put(peer, now)

    def _miss(self, peer_id: str, now: float) -> PeerChange:
        """The snapshot does not name this peer."""
        if now >= self._settles_at:
            return self._drop(peer_id)
        state = self._peers[peer_id][0].state
        self._kept[peer_id] = None
        return PeerChange(peer_id, state, state)

    def _put(self, peer: Peer, now: float) -> PeerChange:
        held = self._peers.get(peer.peer_id)
        self._kept.pop(peer.peer_id, None)
        self._peers[peer.peer_id] = (peer, now)
        return PeerChange(peer.peer_id, held[0].state if held else None, peer.state)

    def _drop(self, peer_id: str) -> PeerChange:
        held = self._peers.pop(peer_id, None)
        self._kept.pop(peer_id, None)
        return PeerChange(peer_id, held[0].state if held else None, None)

    def _aged(self, peer: Peer, at: float) -> Peer:
        if peer.heard_age is None:
            return peer
        return replace(peer, heard_age=peer.heard_age + self._clock() - at)
