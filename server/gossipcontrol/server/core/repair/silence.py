"""Peers that a lone node once heard and hears no more: probes for a path first, and a rejoin once there is one.

A lone node beside its own service has no other observer, so nothing but the silence shows that its overlay is dead, or
has lost a part. Peers that are truly away look the same. So the node probes with direct syncs, which cost one dial and
disturb nothing; only a node that hears nobody at all now and then rejoins without a path, because a peer may not know
the sync protocol.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from zlib import crc32

from gossipcontrol.server.core.decision import Cause, Rung
from gossipcontrol.server.core.event import NEVER, SuspicionEnded
from gossipcontrol.server.core.finding import EVIDENCE, Finding, NodeSuspected, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.unheard import HOLD, UnheardPeers

MAX_CANDIDATES = 64
"""Most silent peers that are probed, those heard last; they take turns."""
STEADY_PROBES = 90
"""Probes at the first interval (3 minutes of 2 s each); from then on the interval doubles up to the cap."""
BLIND_AFTER = 60.0
"""Seconds of silence after which a node that can probe rejoins without a path; doubles up to the cap."""
HELPED = 10.0
"""Seconds after RESUBSCRIBE within which a peer is heard if that helped."""
JITTER = 0.5
"""Largest part of an interval that is added to it, so that a silent fleet does not act in step."""


class Silence:
    """The lone node of a store while peers that it once heard are silent."""

    __slots__ = ("began_at", "blind", "blind_at", "candidates", "is_total", "next_at", "node_id", "probes", "rejoin_at")

    def __init__(self, node_id: str, is_total: bool, began_at: float) -> None:
        self.node_id = node_id
        self.is_total = is_total
        """Whether it hears nobody at all."""
        self.candidates: Sequence[str] = ()
        self.began_at = began_at
        self.next_at = began_at
        """When the next probe is due."""
        self.probes = 0
        self.rejoin_at = began_at
        """No further rejoin towards reached peers before."""
        self.blind = 0
        """Rejoins without a path so far."""
        self.blind_at = began_at + BLIND_AFTER


class SilenceRepair:
    """The silence in one store, if any, and what is done about it."""

    __slots__ = (
        "_is_apart",
        "_parameters",
        "_resubscribe_at",
        "_resubscribed_at",
        "_resubscribes",
        "_silence",
        "_store_id",
        "unheard",
    )

    def __init__(self, store_id: str, parameters: LivenessParameters) -> None:
        self._store_id = store_id
        self._parameters = parameters
        self._silence: Silence | None = None
        self._is_apart = False
        """Whether a trigger said that the lone node is apart from peers that it reached."""
        self._resubscribes = 0
        """Times that the lone node resubscribed since that last helped."""
        self._resubscribed_at = NEVER
        self._resubscribe_at = NEVER
        """Not again before: peers of a store in which nobody speaks are reached, listed and unheard as well."""
        self.unheard = UnheardPeers(self._backoff)
        """Peers that probes reached and that are not heard yet."""

    def __contains__(self, node_id: object) -> bool:
        return self._silence is not None and self._silence.node_id == node_id

    def next_at(self) -> float:
        """When the next probe or rejoin is due."""
        silence = self._silence
        return math.inf if silence is None else min(silence.next_at, max(silence.rejoin_at, self.unheard.next_at()))

    def update(self, node_id: str, candidates: Sequence[str], now: float, *, is_total: bool) -> None:
        """Set the lone node (empty: none) and the peers that it once heard and hears no more."""
        before = self._silence
        if not node_id:
            self.unheard.retain(())
        candidates = list(dict.fromkeys([*candidates, *self.unheard.to_probe(now)]))[:MAX_CANDIDATES]
        if not candidates and not self.unheard:
            self._silence = None
            return
        known = before is not None and before.node_id == node_id and before.is_total is is_total
        silence = before if known and before is not None else Silence(node_id, is_total, now)
        if any(one not in silence.candidates and one not in self.unheard for one in candidates):
            silence.probes = 0  # a peer that was heard until now
            silence.next_at = min(silence.next_at, now)
        silence.candidates = candidates
        self._silence = silence

    def probe(self, capable: Collection[str], now: float) -> list[Finding]:
        """The probe that is due."""
        silence = self._silence
        if silence is None or silence.next_at > now:
            return []
        silence.next_at = now + self._interval(silence)
        if silence.node_id not in capable or not silence.candidates:
            return []
        peer_id = silence.candidates[silence.probes % len(silence.candidates)]
        silence.probes += 1
        return [SyncWanted(silence.node_id, self._store_id, peer_id)]

    def rejoin_blindly(self, alone: Mapping[str, bool], capable: Collection[str], now: float) -> list[Finding]:
        """A rejoin without a path, of a node that hears nobody and has no neighbour (``alone``)."""
        silence = self._silence
        if silence is None or not silence.is_total or not alone.get(silence.node_id):
            return []
        node_id, can_probe = silence.node_id, silence.node_id in capable
        is_first = not can_probe and not silence.blind
        if now < silence.began_at + self._parameters.isolated_after or (now < silence.blind_at and not is_first):
            return []
        first = BLIND_AFTER if can_probe else self._parameters.suspicion_interval
        silence.blind_at = now + self._jittered(node_id, silence.blind, first * 2.0 ** min(silence.blind, 60))
        silence.blind += 1
        told = f"no neighbour, and none of {len(silence.candidates)} peers is heard for {now - silence.began_at:.0f} s"
        return [self._suspect(node_id, Cause.ISOLATED, told, (), rejoin_only=True)]

    def on_reached(self, node_id: str, peer_id: str, now: float, *, alone: bool, lists: bool) -> list[Finding]:
        """A probe reached a peer: there is a path.

        A node without neighbours (``alone``) rejoins along it at once. One that hears nobody but ``lists`` the peer as
        its neighbour resubscribes: it would join over the dead link.
        """
        silence = self._silence
        if silence is None or silence.node_id != node_id:
            return []
        is_dead_link = lists and now >= self._resubscribe_at
        if not silence.is_total or not (alone or is_dead_link):
            self.unheard.add(peer_id, now)
            return []
        silence.next_at = max(silence.next_at, now + HOLD)
        if not self.unheard.take(peer_id, now):
            return []
        told = f"reached {peer_id}, after {now - silence.began_at:.0f} s in which nobody was heard"
        found = self._suspect(node_id, Cause.ISOLATED, told, (peer_id,), rejoin_only=False)
        if not lists:
            return [found]
        self._resubscribed_at, self._resubscribes = now, self._resubscribes + 1
        self._resubscribe_at = now + self._backoff(node_id, self._resubscribes - 1)
        return [replace(found, first_rung=Rung.RESUBSCRIBE)]

    def rejoin_towards_unheard(self, now: float) -> list[Finding]:
        """The rejoin of a node that hears some peers towards those that it reached and still does not hear.

        It must not cost the links that the node has, so no stronger rung follows.
        """
        silence = self._silence
        if silence is None or now < silence.rejoin_at:
            return []
        peer_ids = self.unheard.take_due(now)
        if len(peer_ids) == 0:
            return []
        self._is_apart = True
        silence.rejoin_at = now + self._parameters.suspicion_interval  # one link may bring the others back
        more = f" and {len(peer_ids) - 1} more" if len(peer_ids) > 1 else ""
        told = f"reached {peer_ids[0]}{more}, but does not hear it in this store"
        return [self._suspect(silence.node_id, Cause.PARTITION, told, peer_ids, rejoin_only=True)]

    def on_heard(self, node_id: str, heard: Mapping[str, float], neighbors: Mapping[str, float]) -> list[Finding]:
        """Record what the lone node hears: a peer that is heard again is no longer apart."""
        if self._resubscribes and any(0 < at - self._resubscribed_at < HELPED for at in heard.values()):
            self._resubscribes = 0
        if node_id in self and self.unheard.on_heard(heard, neighbors) and self._is_apart:
            self._is_apart = False
            return [SuspicionEnded(node_id, self._store_id, Cause.PARTITION)]
        return []

    def _suspect(
        self, node_id: str, cause: Cause, evidence: str, bridge: tuple[str, ...], *, rejoin_only: bool
    ) -> NodeSuspected:
        return NodeSuspected(node_id, self._store_id, cause, evidence[:EVIDENCE], bridge, rejoin_only)

    def _interval(self, silence: Silence) -> float:
        steady = self._parameters.bridge_interval
        late = max(0, silence.probes - STEADY_PROBES)
        return steady if not late else self._jittered(silence.node_id, silence.probes, steady * 2.0 ** min(late, 60))

    def _backoff(self, peer_id: str, rejoins: int) -> float:
        """Seconds until the next rejoin because of a reached peer that stays unheard."""
        return self._jittered(peer_id, rejoins, self._parameters.suspicion_interval * 2.0 ** min(rejoins, 60))

    def _jittered(self, whose: str, turn: int, interval: float) -> float:
        """The interval, at most the cap, and up to ``JITTER`` of it more: the same for the same node and turn."""
        share = (crc32(f"{whose} {turn}".encode()) & 0xFFFF) / 0xFFFF
        return min(interval, self._parameters.suspicion_cap) * (1.0 + JITTER * share)
