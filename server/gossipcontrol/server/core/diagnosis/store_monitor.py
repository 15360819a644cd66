"""One store under observation: what its nodes say, what they are suspected of, and when to look again."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Protocol

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.diagnosis.conditions import ConditionTracker
from gossipcontrol.server.core.diagnosis.isolation import isolated, stuck
from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.reports import StoreReports
from gossipcontrol.server.core.diagnosis.rot import HOLD_SHARE, Rot, Verdict, begin_anew_across
from gossipcontrol.server.core.event import NEVER, LivenessReported, NeighborChanged, SuspicionEnded, SyncFinished
from gossipcontrol.server.core.finding import EVIDENCE, Finding, NodeSuspected
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.repair.budget import Budget
from gossipcontrol.server.core.repair.pair_sync import PairSyncScheduler
from gossipcontrol.server.core.repair.partition_repair import PartitionRepair

PACE = 1.0
"""Least seconds between two looks at a store."""
ROT_SHARE = 0.1
"""Least time between two comparisons of counts, in parts of the window."""
NEWS_SHARE = 0.5
"""Part of its nodes that must have reported anew before a store is looked at: a look costs about its size."""
LATEST = 10.0
"""Seconds after which fewer are enough."""
IDLE = 60.0
"""Seconds between two looks at a store of which nothing is heard."""


class Roster(Protocol):
    """What diagnosis asks of presence, and tells it."""

    def state(self, store_id: str, peer_id: str) -> PeerState | None:
        """Of a peer; None when it is not known."""
        ...

    def online(self, store_id: str) -> Collection[str]:
        """The peers that are online."""
        ...

    def hush(self, store_id: str, peer_id: str, standing: bool, now: float) -> None:
        """What a peer broadcasts reaches nobody, or does again."""
        ...


class StoreMonitor:
    """All there is to one store."""

    __slots__ = (
        "_compared_at",
        "_look_at",
        "_looked_at",
        "_mute_since",
        "_news",
        "_parameters",
        "_presence",
        "able",
        "attached",
        "matchmaker",
        "reunion",
        "store_id",
        "suspicions",
        "testimony",
    )

    def __init__(self, store_id: str, parameters: LivenessParameters, presence: Roster, budget: Budget) -> None:
        self.store_id = store_id
        self.attached: dict[str, None] = {}
        """Nodes of the store that have an agent."""
        self.able: dict[str, None] = {}
        """Those of them that can sync with a peer."""
        self.testimony = StoreReports(store_id, parameters)
        self.suspicions = ConditionTracker(
            parameters.suspicion_interval, parameters.suspicion_cap, parameters.rot_window
        )
        self.reunion = PartitionRepair(store_id, parameters, self.suspicions)
        self.matchmaker = PairSyncScheduler(store_id, parameters, budget)
        self._parameters = parameters
        self._presence = presence
        self._mute_since: dict[str, float] = {}
        """Nodes whose broadcasts reach nobody, and since which look; anew while the store falls apart."""
        self._news = 0
        """Reports since the last look."""
        self._looked_at = NEVER
        self._compared_at = NEVER
        self._look_at = math.inf

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to observe."""
        return not self.testimony.observers and not self.attached

    def next_at(self) -> float:
        """When ``advance`` has something to do."""
        match_at = self.matchmaker.look_at
        return min(self._look_at, self.reunion.next_at(), math.inf if match_at is None else match_at)

    # What is reported.

    def report(self, event: LivenessReported, now: float) -> list[Finding]:
        """Take a node's report."""
        if event.going_to_sleep:
            return self.forget(event.node_id)
        observer = self.testimony.take(event, now, attached=event.node_id in self.attached)
        if observer is None:
            return []
        if event.node_id in self.matchmaker.pairs:
            self._note_meetings(event, now)
        self._news += 1
        if self._news >= NEWS_SHARE * len(self.testimony.observers):
            self._look_at = min(self._look_at, max(now, self._looked_at + PACE))
        else:
            self._look_at = min(self._look_at, now + LATEST)
        told = stuck(observer, event, self._parameters, now)
        return self._settle(event.node_id, Cause.SUSPICION, told, now)

    def change(self, event: NeighborChanged, now: float) -> None:
        """Take that a neighbour came or went."""
        if self.testimony.change(event, now):
            if event.up:
                self.matchmaker.meet(event.node_id, (event.peer_id,), now)
            self._look_at = min(self._look_at, max(now, self._looked_at + PACE))

    def finish_sync(self, event: SyncFinished, now: float) -> list[Finding]:
        """A direct sync came to its end."""
        self.matchmaker.finish(event.node_id, event.peer_id, event.ok, now)
        return self.reunion.reached(event.node_id, event.peer_id, self.attached, now) if event.ok else []

    def attach(self, node_id: str, can_sync: bool, now: float) -> None:
        """A node of this store has an agent now."""
        self.attached[node_id] = None
        if can_sync and node_id not in self.able:
            self.able[node_id] = None
            self.matchmaker.take_up(node_id, now)
        elif not can_sync:
            self.able.pop(node_id, None)
        self._look_at = min(self._look_at, now + LATEST)

    def detach(self, node_id: str) -> list[Finding]:
        """It has none any longer."""
        self.attached.pop(node_id, None)
        self.able.pop(node_id, None)
        self.matchmaker.remove(node_id)
        return self.forget(node_id)

    def forget(self, node_id: str) -> list[Finding]:
        """A node's word counts no longer until it reports again."""
        self.testimony.forget(node_id)
        return self._drop(node_id)

    # What follows.

    def advance(self, room: int, now: float) -> list[Finding]:
        """Do what is due; ``room`` is how many further pairs may be tracked."""
        found: list[Finding] = []
        stale = self.reunion.next_at() <= now and self._looked_at + PACE <= now
        if self._look_at <= now or stale:
            found += self._look(now)
            self._choose_members(room, now)
        found += self.reunion.attempt(self.able, now)
        match_at = self.matchmaker.look_at
        if match_at is not None and match_at <= now:
            found += self.matchmaker.look(self.able, self.reunion.apart, now)
        return found

    def _look(self, now: float) -> list[Finding]:
        self._news, self._looked_at, self._look_at = 0, now, now + IDLE
        found: list[Finding] = []
        self.testimony.clean(now)
        links = Links(self.testimony, self._parameters, self._state, now)
        self.testimony.ask_the_silent(links.fresh.values())
        for node_id in sorted(self.suspicions.nodes() - links.fresh.keys()):
            found += self._drop(node_id)
        found += self.reunion.look(links, self.able, now)
        found += self._look_for_isolation(links, now)
        begin_anew_across(self.testimony, links)
        self._hush(links, now)
        if len(links.fresh) > 1 and now - self._compared_at >= ROT_SHARE * self._parameters.rot_window:
            self._compared_at = now
            found += self._look_for_rot(links, now)
        for cause in (Cause.OUTBOUND_ROT, Cause.INBOUND_ROT):
            for node_id in self.suspicions.faded(cause, now - 2 * self._parameters.rot_window):
                found += self._end(node_id, cause, healed=False)
        self.suspicions.forget(now)
        if len(self.suspicions):
            self._look_at = now + LATEST
        return found

    def end(self) -> list[Finding]:
        """Nothing is suspected any longer, for the store is forgotten."""
        return [one for node_id in sorted(self.suspicions.nodes()) for one in self._drop(node_id)]

    def unhush(self, now: float) -> None:
        """Nobody is left to say that a node is mute: presence takes the word of all."""
        for node_id in self._mute_since:
            self._presence.hush(self.store_id, node_id, False, now)
        self._mute_since = {}

    def _look_for_isolation(self, links: Links, now: float) -> list[Finding]:
        found: list[Finding] = []
        online, hold = self._presence.online(self.store_id), self._parameters.isolated_after
        suspected = self.suspicions.suspected(Cause.ISOLATED)
        for node_id in sorted((links.fresh.keys() - links.linked).union(suspected)):
            has_others = len(links.fresh) > 1 or len(online) > (node_id in online)
            told = isolated(links, node_id) if has_others else ""
            found += self._settle(node_id, Cause.ISOLATED, told, now, hold)
        return found

    def _look_for_rot(self, links: Links, now: float) -> list[Finding]:
        rot, hold = Rot(self.testimony, links, self._parameters, now), HOLD_SHARE * self._parameters.rot_window
        found = self._judge(Cause.OUTBOUND_ROT, self._mute(hold, now), links, now)
        found += self._judge(Cause.OUTBOUND_ROT, self._unless_mute(rot.outbound), links, now, hold)
        return found + self._judge(Cause.INBOUND_ROT, rot.inbound, links, now, hold)

    def _judge(
        self, cause: Cause, verdicts: list[Verdict], links: Links, now: float, hold: float = 0.0
    ) -> list[Finding]:
        found: list[Finding] = []
        for verdict in verdicts:
            new = self._settle(verdict.node_id, cause, verdict.evidence, now, hold)
            if any(isinstance(one, NodeSuspected) for one in new):
                self._begin_anew(verdict.node_id, cause, links)
            found += new
        return found

    def _mute(self, hold: float, now: float) -> list[Verdict]:
        """Who has been mute for so long: that shows before the counts do, which speak of a whole window."""
        return [
            Verdict(node_id, f"nobody who could tell has heard its broadcasts for {now - since:.0f} s and longer")
            for node_id, since in self._mute_since.items()
            if now - since >= hold
        ]

    def _unless_mute(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Whom nobody hears now is not well, whatever was heard in the window."""
        return [one for one in verdicts if one.evidence or one.node_id not in self._mute_since]

    def _begin_anew(self, node_id: str, cause: Cause, links: Links) -> None:
        """What led to one trigger must not lead to the next."""
        if cause is Cause.OUTBOUND_ROT:
            self.testimony.voices[node_id].begin_anew()
        else:
            for voice in self.testimony.voices.values():
                if voice.knows(links.fresh[node_id].number):
                    voice.begin_anew()

    def _settle(self, node_id: str, cause: Cause, told: str, now: float, hold: float = 0.0) -> list[Finding]:
        """A suspicion stands, with this evidence, or no longer."""
        if not told:
            return self._end(node_id, cause, healed=True)
        if not self.suspicions.stands(node_id, cause, now, hold) or self.reunion.explains(node_id):
            return []
        self.suspicions.trigger(node_id, cause, now)
        return [NodeSuspected(node_id, self.store_id, cause, told[:EVIDENCE])]

    def _drop(self, node_id: str) -> list[Finding]:
        """Suspect a node of nothing any longer, for it says nothing any longer."""
        return [one for cause in self.suspicions.of(node_id) for one in self._end(node_id, cause, healed=False)]

    def _end(self, node_id: str, cause: Cause, *, healed: bool) -> list[Finding]:
        """Said only of what became a trigger."""
        told = self.suspicions.clear(node_id, cause)
        return [SuspicionEnded(node_id, self.store_id, cause, healed)] if told else []

    def _hush(self, links: Links, now: float) -> None:
        """Note whose broadcasts reach nobody, and tell presence."""
        for node_id in sorted(links.mute ^ self._mute_since.keys()):
            self._presence.hush(self.store_id, node_id, node_id in links.mute, now)
        known = self._mute_since if links.is_whole else {}
        self._mute_since = {node_id: known.get(node_id, now) for node_id in sorted(links.mute)}

    def _choose_members(self, room: int, now: float) -> None:
        online, pairs, state = self._presence.online(self.store_id), self.matchmaker.pairs, self._state
        self.matchmaker.choose(
            [
                node_id
                for node_id in self.attached
                if node_id in online or (node_id in pairs and state(node_id) is PeerState.SUSPECT)
            ],
            room,
            now,
        )

    def _note_meetings(self, event: LivenessReported, now: float) -> None:
        """Neighbours sync by themselves."""
        self.matchmaker.meet(event.node_id, event.neighbors, now)
        for peer_id in event.direct:
            self.matchmaker.meet(event.node_id, (peer_id,), event.heard[peer_id])

    def _state(self, peer_id: str) -> PeerState | None:
        return self._presence.state(self.store_id, peer_id)
