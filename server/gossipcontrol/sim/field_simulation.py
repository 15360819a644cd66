"""Nodes and agents as in real networks: dials that poison, addresses, rejoins with knocks, a service that may stop."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations

from gossipcontrol.server.core.decision import Capability, Rung
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NeighborChanged,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import StartSync
from gossipcontrol.server.core.presence.presence import DEPARTURE_GRACE
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.sim.dialler import SWEEP, Dialler
from gossipcontrol.sim.live import LiveWorld
from gossipcontrol.sim.outcome import Outcome
from gossipcontrol.sim.overlay import VIEW
from gossipcontrol.sim.paths import Paths
from gossipcontrol.sim.record import Taken
from gossipcontrol.sim.scenario import Scenario
from gossipcontrol.sim.simulation import DIAL_TIMEOUT, SYNC_TIME, SimNode

GRACE = 3.0
"""Seconds without any network after which an agent suspends its node."""
BOOTSTRAP = 5
"""Most peers dialled in one rejoin."""
ENDPOINT_TIME = 3.0
"""Seconds until a new endpoint serves."""
KNOCK_TIME = 1.5
"""Seconds for which a rejoin waits for peers to knock."""
RECONNECT = 5.0
"""Longest wait of an agent before it attaches again."""
AWAY = frozenset({PeerState.ASLEEP, PeerState.OFFLINE})


class FieldSimulation(LiveWorld):
    """Nodes, their agents and their service as real networks know them. ``outcome`` is what a trouble cost."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self.outcome = Outcome(heard=dict.fromkeys(self.nodes, 0))
        self.frozen: list[tuple[float, float]] = []
        """When the service stood still, service time."""
        self.paths = Paths(self.nodes)
        self._dialler = Dialler(self._overlay, self.paths, self._chance, self._reaches, self._runs)
        self._rhythms = {node_id: random.Random(f"{seed} {node_id}") for node_id in self.nodes}
        """The same whatever else happens, so that runs with and without agents compare."""
        self._stopped: set[str] = set()
        """Nodes of hosts that stand still."""
        self._suspended: set[str] = set()
        self._announced = {node_id: self.paths.address(node_id) for node_id in self.nodes}
        """Each node's address as the node itself knows it."""
        self._slept_at: dict[str, float] = {}
        """When each node's last word that it falls asleep was handled, service time."""
        self._thaws_at = 0.0
        self._offline_before: set[str] = set()
        self._arrived: list[tuple[Event, float]] = []
        """What has arrived while the service stands still."""
        self._away_for: Counter[str] = Counter()

    def run(self) -> list[Taken]:
        """Run the scenario; returns every event that the core handled."""
        self._at(SWEEP, self._sweep)
        return super().run()

    # Time.

    def _sweep(self) -> None:
        self._at(SWEEP, self._sweep)
        self._dialler.sweep()
        if self.outcome.began_at and len(self._overlay.components(self._carries)) > 1:
            self.outcome.broken_at = self._now
        if not self._is_frozen():
            self._look_who_is_away()

    def _look_who_is_away(self) -> None:
        presence = self._recorder.core.liveness.presence
        for node in self.nodes.values():
            wrong = presence.state("s0", node.node_id) in AWAY and self._could_be_known(node)
            self._count_away(node.node_id, wrong)

    def _count_away(self, who: str, wrong: bool) -> None:
        self._away_for[who] = self._away_for[who] + 1 if wrong else 0
        self.outcome.away = max(self.outcome.away, self._away_for[who] * SWEEP)

    def _could_be_known(self, node: SimNode) -> bool:
        """Whether a node and another can reach each other, and one of both has an agent."""
        can_dial = self._dialler.can_dial
        return any(
            can_dial(one, node.node_id) or can_dial(node.node_id, one)
            for one, other in self.nodes.items()
            if other is not node and (other.sessions or node.sessions)
        )

    def _is_frozen(self) -> bool:
        return self._now < self._thaws_at

    def _ticks(self) -> bool:
        return super()._ticks() and not self._is_frozen()

    # The service.

    def _handle(self, event: Event, not_before: float = 0.0) -> None:
        """While the service stands still, events wait in its sockets."""
        if self._is_frozen():
            self._arrived.append((event, self._now))
            return
        super()._handle(event, not_before)
        if isinstance(event, LivenessReported):
            if event.going_to_sleep:
                self._slept_at[event.node_id] = self._time.now()
            self._check_report(event)

    def _check_report(self, event: LivenessReported) -> None:
        """Whoever was heard just now is neither asleep nor offline, unless it has fallen asleep since."""
        now, state = self._time.now(), self._recorder.core.liveness.presence.state
        for peer_id, heard_at in event.heard.items():
            awake_at = max(self._slept_at.get(peer_id, 0.0) + DEPARTURE_GRACE, now - self.scenario.report_interval)
            if heard_at > awake_at and state("s0", peer_id) in AWAY:
                self.outcome.contradicted.append(f"{peer_id} is heard at {now:.3f} and {state('s0', peer_id)}")

    def _thaw(self) -> None:
        """What arrived meanwhile is handled in order, late; the timers may come first, or last."""
        if self._is_frozen():
            return
        arrived, self._arrived = self._arrived, []
        deadline = self._recorder.core.next_deadline()
        if deadline is not None and deadline <= self._time.now() and self._chance.random() < 0.5:
            arrived.insert(0, (TimePassed(), self._now))
        for event, at in arrived:
            self._handle(_arriving_later(event, self._now - at))
            self._check_forgiven()

    def _check_forgiven(self) -> None:
        """That the service stood still makes nobody offline who was not before."""
        now_offline = self._offline() - self._offline_before
        for node_id in sorted(now_offline):
            if self._could_be_known(self.nodes[node_id]):
                self.outcome.contradicted.append(f"{node_id} is offline because the service stood still")

    def _offline(self) -> set[str]:
        state = self._recorder.core.liveness.presence.state
        return {node_id for node_id in self.nodes if state("s0", node_id) is PeerState.OFFLINE}

    def _sync(self, wanted: StartSync) -> None:
        if wanted.node_id in self._stopped:
            self._at(SWEEP, self._sync, wanted)
            return
        self.paths.remember(wanted.node_id, wanted.peer_id, self._recorder.core.addresses(wanted.peer_id))
        self._at(SYNC_TIME, self._sync_over, wanted, 0.0)

    def _sync_over(self, wanted: StartSync, waited: float) -> None:
        """A direct sync repeats its first packets until its time is over; it dials outside the overlay."""
        ok = self._dialler.can_dial(wanted.node_id, wanted.peer_id)
        if not ok and waited < DIAL_TIMEOUT:
            self._at(SWEEP, self._sync_over, wanted, waited + SWEEP)
            return
        if ok:
            self.paths.meet(wanted.node_id, wanted.peer_id)
        self._synced(SyncFinished(wanted.node_id, wanted.store_id, wanted.peer_id, ok, "" if ok else "no route"))

    # Nodes.

    def _abilities(self, node: SimNode) -> frozenset[Capability]:
        return frozenset({Capability.RESUBSCRIBE, Capability.SYNC_WITH_PEER})

    def _addresses(self, node: SimNode) -> tuple[str, ...]:
        return (self._announced[node.node_id],)

    def _runs(self, node_id: str) -> bool:
        return node_id not in self._stopped and node_id not in self._suspended

    def _reaches(self, one: str, other: str) -> bool:
        if not super()._reaches(one, other) or not self.paths.are_routed(one, other):
            return False
        return one not in self._stopped and other not in self._stopped

    def _carries(self, sender: str, receiver: str) -> bool:
        return self._dialler.carries(sender, receiver)

    def _weave(self) -> None:
        """Every node knows and links as many others as it can, the same whoever has an agent."""
        for one, other in self._nearest_first():
            self.paths.meet(one, other)
            if all(len(self._overlay.views[node_id]) < VIEW for node_id in (one, other)):
                self._overlay.link(one, other)

    def _nearest_first(self) -> list[tuple[str, str]]:
        """All pairs. Of more nodes than know each other, those near on a ring first: what they link is one piece."""
        pairs = list(combinations(self.nodes, 2))
        count = len(self.nodes)
        if count <= VIEW + 1:
            return pairs
        place = {node_id: number for number, node_id in enumerate(self.nodes)}
        distances = [abs(place[one] - place[other]) for one, other in pairs]
        order = sorted(range(len(pairs)), key=lambda index: min(distances[index], count - distances[index]))
        return [pairs[index] for index in order]

    def _jitter(self, node: SimNode) -> float:
        return self._rhythms[node.node_id].uniform(0.9, 1.1)

    def _beat(self, node: SimNode, every: float, large: bool) -> None:
        if self._runs(node.node_id):
            super()._beat(node, every, large)
        else:
            self._at(every * self._jitter(node), self._beat, node, every, large)

    def _deliver_message(self, node_id: str, author: str, direct: bool) -> None:
        super()._deliver_message(node_id, author, direct)
        if self.outcome.began_at and self._now <= self.scenario.duration:
            self.outcome.heard[node_id] += 1

    def _report(self, node: SimNode) -> None:
        if self._runs(node.node_id):
            super()._report(node)
        else:
            self._at(self.scenario.report_interval, self._report, node)

    def _attach(self, node: SimNode) -> None:
        if node.node_id in self._stopped or (self._is_frozen() and not self._is_beside(node)):
            self._at(self._chance.uniform(0.0, RECONNECT), self._attach, node)
        else:
            super()._attach(node)

    def _is_beside(self, node: SimNode) -> bool:
        """Whether a node runs on the host of its service, so that no cut parts them."""
        return self.scenario.agents == 1 and node.node_id == "n0"

    # Rejoins.

    def _carry_out(self, start: StartRejoin) -> None:
        node = self.nodes[start.node_id]
        if node.node_id in self._stopped:
            self._at(SWEEP, self._carry_out, start)
            return
        if node.session_id != start.session_id or (node.cut and not self._is_beside(node)):
            return
        for peer in start.bootstrap:
            self.paths.remember(node.node_id, peer.peer_id, peer.addresses)
        hints = [peer.peer_id for peer in start.bootstrap]
        if start.rung is Rung.RESUBSCRIBE:
            self._at(ENDPOINT_TIME, self._resubscribe, node, hints, start)
            return
        if node.node_id in self._suspended:
            self._resume(node)
            self._at(GRACE, self._suspend_again, node)
        self._join(node, hints, 0.0)
        self._at(KNOCK_TIME, self._result, start, "")

    def _join(self, node: SimNode, hints: list[str], waited: float) -> None:
        """Have the hints knock, as far as they can be reached, then dial them and other known peers."""
        if not self._runs(node.node_id):
            return
        knocked = [self._dialler.knock(node.node_id, peer_id) for peer_id in hints]
        if hints and not any(knocked) and waited < KNOCK_TIME:
            self._at(SWEEP, self._join, node, hints, waited + SWEEP)
            return
        for peer_id in list(dict.fromkeys([*hints, *self.paths.known(node.node_id)]))[:BOOTSTRAP]:
            self._dialler.dial(node.node_id, peer_id)

    def _resubscribe(self, node: SimNode, hints: list[str], start: StartRejoin) -> None:
        """Move to a new endpoint; the old one stays if it has neighbours and the new one reaches nobody."""
        known = list(dict.fromkeys([*hints, *self.paths.known(node.node_id)]))
        reaches = any(self._dialler.can_dial(node.node_id, peer_id) for peer_id in known)
        if not reaches and self._overlay.views[node.node_id]:
            self._result(start, "the new endpoint reaches nobody")
            return
        self._suspended.discard(node.node_id)
        self._dialler.renew(node.node_id)
        self._join(node, hints, KNOCK_TIME)
        self._result(start, "")

    def _suspend_again(self, node: SimNode) -> None:
        if node.cut and node.node_id not in self._suspended:
            self._suspend(node)

    def _suspend(self, node: SimNode) -> None:
        """No peer can be reached: leave the overlay, and say that this silence is no failure."""
        self._dialler.leave(node.node_id)
        self._suspended.add(node.node_id)
        if node.session_id and self._is_beside(node):  # nothing gets through to another host
            self._later(self._handle, LivenessReported(node.node_id, "s0", going_to_sleep=True))

    def _resume(self, node: SimNode) -> None:
        if node.node_id in self._suspended:
            self._suspended.discard(node.node_id)
            self._join(node, [], 0.0)


def _arriving_later(event: Event, by: float) -> Event:
    """Ages on the wire are taken when a message is sent: one that waits looks younger."""
    if isinstance(event, LivenessReported):
        heard = {peer_id: at + by for peer_id, at in event.heard.items()}
        return replace(event, heard=heard, neighbors={peer_id: at + by for peer_id, at in event.neighbors.items()})
    if isinstance(event, NeighborChanged):
        return replace(event, changed_at=event.changed_at + by)
    return event
