"""Nodes that hear nobody they once heard: probes for a path first, and a rejoin once there is one.

A lone node beside its own service has no other observer, so nothing but the silence shows that its overlay is dead.
Peers that are truly away look the same. So a silent node probes with direct syncs, which cost one dial and disturb
nothing; only now and then does it rejoin without a path, because a peer may not know the sync protocol.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.finding import EVIDENCE, Finding, NodeSuspected, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters

MAX_CANDIDATES = 64
"""Most silent peers that are probed, those heard last; they take turns."""
STEADY_PROBES = 90
"""Probes at the first interval (3 minutes of 2 s each); from then on the interval doubles up to the cap."""
BLIND_AFTER = 60.0
"""Seconds of silence after which a node that can probe rejoins without a path; doubles up to the cap."""
JITTER = 0.5
"""Largest part of an interval that is added to it, so that a silent fleet does not act in step."""


class Silence:
    """One silent node."""

    __slots__ = ("began_at", "blind", "blind_at", "next_at", "probes")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.next_at = began_at
        """When the next probe is due."""
        self.probes = 0
        self.blind = 0
        """Rejoins without a path so far."""
        self.blind_at = began_at + BLIND_AFTER


class SilenceRepair:
    """The silent nodes of one store, and what is done about them."""

    __slots__ = ("_candidates", "_parameters", "_silences", "_store_id")

    def __init__(self, store_id: str, parameters: LivenessParameters) -> None:
        self._store_id = store_id
        self._parameters = parameters
        self._silences: dict[str, Silence] = {}
        self._candidates: Sequence[str] = ()

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._silences

    def next_at(self) -> float:
        """When the next probe is due."""
        return min((one.next_at for one in self._silences.values()), default=math.inf)

    def update(self, silent: Collection[str], candidates: Sequence[str], now: float) -> None:
        """Set which nodes hear nobody now, and the peers that the store once heard."""
        self._candidates = candidates[:MAX_CANDIDATES]
        known = self._silences
        self._silences = {node_id: known.get(node_id) or Silence(now) for node_id in silent}

    def probe(self, capable: Collection[str], now: float) -> list[Finding]:
        """The probes that are due."""
        found: list[Finding] = []
        for node_id, silence in self._silences.items():
            if silence.next_at > now:
                continue
            silence.next_at = now + self._interval(node_id, silence)
            if node_id in capable and self._candidates:
                peer_id = self._candidates[silence.probes % len(self._candidates)]
                silence.probes += 1
                found.append(SyncWanted(node_id, self._store_id, peer_id))
        return found

    def rejoin_blindly(self, alone: Mapping[str, bool], capable: Collection[str], now: float) -> list[Finding]:
        """Rejoins without a path, of nodes without any neighbour (``alone``)."""
        found: list[Finding] = []
        for node_id, silence in self._silences.items():
            if not alone.get(node_id) or now < silence.began_at + self._parameters.isolated_after:
                continue
            if node_id in capable and now < silence.blind_at:
                continue
            if node_id not in capable and silence.blind and now < silence.blind_at:
                continue
            first = BLIND_AFTER if node_id in capable else self._parameters.suspicion_interval
            silence.blind_at = now + self._jittered(node_id, silence.blind, first * 2.0 ** min(silence.blind, 60))
            silence.blind += 1
            told = (
                f"no neighbour, and none of {len(self._candidates)} peers is heard for {now - silence.began_at:.0f} s"
            )
            found.append(self._suspect(node_id, told, (), True))
        return found

    def on_reached(self, node_id: str, peer_id: str, alone: bool, now: float) -> list[Finding]:
        """A probe reached a peer: there is a path, and a node without neighbours rejoins along it."""
        silence = self._silences.pop(node_id, None)
        if silence is None or not alone:
            return []
        told = f"reached {peer_id}, after {now - silence.began_at:.0f} s in which nobody was heard"
        return [self._suspect(node_id, told, (peer_id,), False)]

    def _suspect(self, node_id: str, evidence: str, bridge: tuple[str, ...], blind: bool) -> NodeSuspected:
        return NodeSuspected(node_id, self._store_id, Cause.ISOLATED, evidence[:EVIDENCE], bridge, blind=blind)

    def _interval(self, node_id: str, silence: Silence) -> float:
        steady = self._parameters.bridge_interval
        late = max(0, silence.probes - STEADY_PROBES)
        return steady if not late else self._jittered(node_id, silence.probes, steady * 2.0 ** min(late, 60))

    def _jittered(self, node_id: str, turn: int, interval: float) -> float:
        """The interval, at most the cap, and up to ``JITTER`` of it more: the same for the same node and turn."""
        share = (crc32(f"{node_id} {turn}".encode()) & 0xFFFF) / 0xFFFF
        return min(interval, self._parameters.suspicion_cap) * (1.0 + JITTER * share)
