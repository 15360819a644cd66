"""The life of rejoins: window, turn, start, proof, retry, ladder, park, end."""

from __future__ import annotations

import math

from gossipcontrol.server.core.admission import Admission, DryLane, Lane
from gossipcontrol.server.core.bootstrap import Bootstrap
from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.decision import SUSPICION_URGENCY, URGENCY, Decision, DecisionKind, Outcome, Rule
from gossipcontrol.server.core.effect import AdviseRestart, AnnounceRejoin, Effect, StartRejoin
from gossipcontrol.server.core.event import AdviceOutdated, Event, RejoinFinished, RejoinProved
from gossipcontrol.server.core.history import History
from gossipcontrol.server.core.ladder import next_rung
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.server.core.record import UNSEEN, Seen
from gossipcontrol.server.core.registry import Node, Registry, Slot
from gossipcontrol.server.core.rejoin import Rejoin, Trigger
from gossipcontrol.server.core.timer import Timers
from gossipcontrol.server.core.witness import Witness

RESULT_SHARE = 0.8
"""Part of the verify timeout within which the agent must answer; the rest is left for the proof."""
REFUTED = "fresh neighbours came before it started"
BACKOFF_CAP = 10
"""The ladder waits at most this many windows between two rungs."""


class Scheduler:
    """Moves every rejoin through its states. A slot has at most one that waits and one that runs."""

    def __init__(self, parameters: Parameters, registry: Registry, history: History, witness: Witness) -> None:
        self._parameters = parameters
        self._registry = registry
        self._history = history
        self._witness = witness
        self._admission = Admission(parameters.rate, parameters.burst)
        self._bootstrap = Bootstrap(registry, parameters.fanout, parameters.spread, parameters.fresh)
        self._timers = Timers()
        self.wake_at = math.inf
        """Nothing is due before this instant."""
        self.waiting = 0
        """In a window, backing off, or in the fair queue."""
        self.parked = 0
        self.running = 0

    # Deciding.

    def judge(self, slot: Slot, trigger: Trigger, seen: Seen, lane: Lane) -> tuple[DecisionKind, Rule, float]:
        """The rule of one slot, for real or dry: nothing changes but what is taken from the lane."""
        now, rejoin = trigger.arrived_at, slot.waiting
        if URGENCY[trigger.cause] >= SUSPICION_URGENCY and self._is_fresh(seen.alive_at, now):
            return DecisionKind.SKIPPED, Rule.FRESH_NEIGHBORS, now
        if rejoin is not None:
            return self._judge_waiting(slot, rejoin, now)
        window_ends_at = slot.last_start_at + self._parameters.window
        if not slot.node.session_id:
            return DecisionKind.PARKED, Rule.NOT_ATTACHED, now + self._parameters.park_time
        if window_ends_at > now:
            return DecisionKind.SCHEDULED, Rule.WINDOW, window_ends_at
        if lane.take(now):
            return DecisionKind.STARTED, Rule.LEADING_EDGE, now
        return DecisionKind.SCHEDULED, Rule.GLOBAL_LIMIT, lane.estimate(now)

    def _judge_waiting(self, slot: Slot, rejoin: Rejoin, now: float) -> tuple[DecisionKind, Rule, float]:
        rule = rejoin.rule
        if rule is Rule.NOT_ATTACHED:
            return DecisionKind.PARKED, rule, now + self._parameters.park_time
        if rejoin.queued:
            return DecisionKind.COALESCED, rule, max(now, rejoin.expected_at)
        at = now if rejoin.deadline is None else rejoin.deadline
        if rule is Rule.BACKOFF:
            # A retry backs off, but a new trigger need wait no longer than the window.
            at = min(at, max(now, slot.last_start_at + self._parameters.window))
        return DecisionKind.COALESCED, rule, at

    def see(self, slot: Slot, alive_at: float) -> Seen:
        """What a decision about the slot sees now."""
        waiting_id = slot.waiting.rejoin_id if slot.waiting else ""
        return Seen(slot.node.attached, slot.last_start_at, alive_at, waiting_id, self.waiting)

    def decide(self, slot: Slot, trigger: Trigger, effects: list[Effect]) -> Decision:
        """Leading edge now; every further trigger shares one trailing run."""
        seen = self.see(slot, self._witness.ask_instant(slot.alive_at))
        kind, rule, at = self.judge(slot, trigger, seen, self._admission)
        rejoin, now = slot.waiting, trigger.arrived_at
        if kind is DecisionKind.SKIPPED:
            return self._refute(slot, trigger, seen)
        if rejoin is not None:
            return self._coalesce(rejoin, trigger, kind, rule, at, seen)
        rejoin = self._history.new(slot.node.node_id, slot.store.store_id, trigger)
        if kind is DecisionKind.STARTED:
            self._start(slot, rejoin, now, effects)
        elif rule is Rule.WINDOW:
            self._wait(slot, rejoin, rule, at)
        elif kind is DecisionKind.PARKED:
            slot.waiting = rejoin
            self._park(rejoin, now)
        else:
            slot.waiting = rejoin
            self.waiting += 1
            self._queue(rejoin, now)
        rejoin.add_trigger(trigger, kind, rule, seen)
        return Decision(rejoin.node_id, rejoin.store_id, kind, rule, rejoin.rejoin_id, at)

    def _is_fresh(self, alive_at: float, now: float) -> bool:
        """Whether a present neighbour gave a sign of life of late: then a rejoin would only feed churn."""
        return alive_at > now - self._parameters.fresh

    def _refute(self, slot: Slot, trigger: Trigger, seen: Seen) -> Decision:
        """Skip a suspicion; those of one window share a record."""
        earlier, now = self._history.get(slot.skipped_id), trigger.arrived_at
        if earlier is None or earlier.requested_at + self._parameters.window <= now:
            skipped = self._history.new(slot.node.node_id, slot.store.store_id, trigger)
            slot.skipped_id = skipped.rejoin_id
            return self.skip(skipped, trigger, Rule.FRESH_NEIGHBORS, seen)
        kind, rule = DecisionKind.SKIPPED, Rule.FRESH_NEIGHBORS
        earlier.add_trigger(trigger, kind, rule, seen)
        return Decision(earlier.node_id, earlier.store_id, kind, rule, "", now)

    def _coalesce(
        self, rejoin: Rejoin, trigger: Trigger, kind: DecisionKind, rule: Rule, at: float, seen: Seen
    ) -> Decision:
        urgency = URGENCY[trigger.cause]
        if rejoin.uncovered_at is None:
            rejoin.uncovered_at = trigger.arrived_at
        if urgency < rejoin.urgency:
            rejoin.urgency = urgency
            if rejoin.queued:
                self._admission.push(rejoin)
        if rule is Rule.BACKOFF:
            rejoin.rule = Rule.WINDOW
            if rejoin.deadline is not None and at < rejoin.deadline:
                self._set_timer(rejoin, at)
        rejoin.add_trigger(trigger, kind, rule, seen)
        decision = rejoin.decision
        if decision is None or decision.start_at != at or decision.rule is not rule:
            decision = Decision(rejoin.node_id, rejoin.store_id, kind, rule, rejoin.rejoin_id, at)
            rejoin.decision = decision
        return decision

    def park_unknown(self, rejoin: Rejoin, trigger: Trigger, rule: Rule) -> Decision:
        """Park a trigger of a host or node of which no store is known yet."""
        now = trigger.arrived_at
        if rejoin.outcome is not Outcome.PARKED:
            self._park(rejoin, now)
            rejoin.rule = rule
        rejoin.add_trigger(trigger, DecisionKind.PARKED, rule)
        expires_at = now + self._parameters.park_time
        return Decision(rejoin.node_id, "", DecisionKind.PARKED, rule, rejoin.rejoin_id, expires_at)

    def skip(self, rejoin: Rejoin, trigger: Trigger, rule: Rule, seen: Seen = UNSEEN) -> Decision:
        """Record a trigger for which nothing runs."""
        now = trigger.arrived_at
        rejoin.add_trigger(trigger, DecisionKind.SKIPPED, rule, seen)
        rejoin.outcome, rejoin.ended_at = Outcome.SKIPPED, now
        self._history.end(rejoin, now)
        return Decision(rejoin.node_id, rejoin.store_id, DecisionKind.SKIPPED, rule, "", now)

    def dry(self) -> DryLane:
        """Admission to try things out on."""
        return self._admission.dry()

    def free(self) -> int:
        """Free places in the queue."""
        return self._parameters.queue_limit - self.waiting - self.parked

    def needs_no_place(self, slot: Slot, now: float) -> bool:
        """Whether a trigger of the slot would start at once, or share a rejoin that waits."""
        if slot.waiting is not None:
            return True
        return slot.node.attached and not len(self._admission) and slot.last_start_at + self._parameters.window <= now

    def retry_in(self) -> float:
        """Seconds after which a full queue has probably some room: a hundred starts at the global rate."""
        return max(1.0, 100.0 / self._parameters.rate)

    # Time.

    def next_deadline(self) -> float | None:
        """When ``advance`` has something to do; None while nothing waits."""
        timer_at, queue_at = self._timers.next_at(), self._admission.next_at()
        if timer_at is None or queue_at is None:
            return queue_at if timer_at is None else timer_at
        return min(timer_at, queue_at)

    def advance(self, now: float, effects: list[Effect]) -> None:
        """Do what is due."""
        while (rejoin := self._timers.pop(now)) is not None:
            if rejoin.outcome is Outcome.RUNNING:
                self._climb(self._slot(rejoin), rejoin, now, effects)
            elif rejoin.outcome is Outcome.PARKED:
                self._expire(rejoin, now, effects)
            else:
                self._admit(self._slot(rejoin), rejoin, now, effects)
        while (rejoin := self._admission.pop(now)) is not None:
            slot = self._slot(rejoin)
            self._leave_wait(slot)
            if self._is_refuted(slot, rejoin, now):
                self._end(rejoin, Outcome.SKIPPED, REFUTED, now, effects)
            else:
                self._start(slot, rejoin, now, effects)
        deadline = self.next_deadline()
        self.wake_at = math.inf if deadline is None else deadline

    # What agents tell.

    def unproved(self, slot: Slot) -> Rejoin | None:
        """The rejoin that a sign of life would prove: the one that runs, or one that only waits to be tried again."""
        if slot.running is not None:
            return slot.running
        waiting = slot.waiting
        if waiting is None or waiting.started_at is None or waiting.uncovered_at is not None:
            return None
        return waiting if waiting.outcome is Outcome.WAITING else None

    def prove(
        self, slot: Slot, alive_at: float, what: str, now: float, effects: list[Effect], facts: list[Event]
    ) -> None:
        """A sign of life at ``alive_at``: if it is newer than the last start, the rejoin worked, late or in time."""
        if slot.restart_advised and alive_at > slot.last_start_at:
            slot.restart_advised = False
            facts.append(AdviceOutdated(slot.node.node_id, slot.store.store_id))
        rejoin = self.unproved(slot)
        if rejoin is None or rejoin.started_at is None or alive_at <= rejoin.started_at:
            return
        facts.append(RejoinProved(rejoin.rejoin_id, what))
        self._verify(slot, rejoin, what, now, effects)

    def proved(self, event: RejoinProved, now: float, effects: list[Effect]) -> None:
        """The logged form of a proof."""
        rejoin = self._history.get(event.rejoin_id)
        if rejoin is not None and rejoin.outcome in (Outcome.RUNNING, Outcome.WAITING):
            self._verify(self._slot(rejoin), rejoin, event.what, now, effects)

    def _verify(self, slot: Slot, rejoin: Rejoin, what: str, now: float, effects: list[Effect]) -> None:
        assert rejoin.started_at is not None
        rejoin.verified_after = now - (rejoin.first_started_at or rejoin.started_at)
        if rejoin is slot.running:
            self._stop(slot, rejoin)
        else:
            self._admission.remove(self._leave_wait(slot))
        self._end(rejoin, Outcome.VERIFIED, f"verified by {what}", now, effects)

    def finish(self, event: RejoinFinished, now: float, effects: list[Effect]) -> None:
        """The agent's answer to an attempt; ignored when that attempt no longer runs."""
        rejoin = self._history.get(event.rejoin_id)
        if rejoin is None or rejoin.outcome is not Outcome.RUNNING or rejoin.attempts != event.attempt:
            return
        if event.ok:
            rejoin.acknowledged = True
            return
        slot = self._slot(rejoin)
        if event.retry_in is None:
            self._stop(slot, rejoin)
            self._end(rejoin, Outcome.FAILED, event.error, now, effects)
        else:
            self._try_again(slot, rejoin, now + event.retry_in, Outcome.FAILED, event.error, now, effects)

    def attach(self, node: Node, now: float, effects: list[Effect]) -> int:
        """Let what was parked for a node go on; returns how many rejoins that were."""
        unparked = 0
        for slot in node.slots.values():
            rejoin = slot.waiting
            if rejoin is not None and rejoin.outcome is Outcome.PARKED:
                unparked += 1
                self.parked -= 1
                self._wait(slot, rejoin, Rule.WINDOW, max(now, slot.last_start_at + self._parameters.window))
        self.advance(now, effects)
        return unparked

    def detach(self, node: Node, now: float, effects: list[Effect]) -> None:
        """Park what waits or runs for a node: a command on a lost stream may never have arrived."""
        for slot in node.slots.values():
            running, waiting = slot.running, slot.waiting
            if running is not None:
                self._stop(slot, running)
                if waiting is None:
                    slot.waiting = running
                    running.detail = "the agent's stream ended before it was verified"
                    self._park(running, now)
                else:
                    detail = f"the agent's stream ended before it was verified; {waiting.rejoin_id} follows"
                    self._end(running, Outcome.FAILED, detail, now, effects)
            if waiting is not None and waiting.outcome is Outcome.WAITING:
                self.waiting -= 1
                self._admission.remove(waiting)
                self._park(waiting, now)

    def drop(self, slot: Slot, reason: str, now: float, effects: list[Effect]) -> None:
        """End what waits or runs in a slot that goes away."""
        if slot.running is not None:
            running = slot.running
            self._stop(slot, running)
            self._end(running, Outcome.SKIPPED, reason, now, effects)
        if slot.waiting is not None:
            waiting = self._leave_wait(slot)
            self._admission.remove(waiting)
            self._end(waiting, Outcome.SKIPPED, reason, now, effects)

    def split(self, rejoin: Rejoin, detail: str, now: float, effects: list[Effect]) -> None:
        """End a rejoin of a host or node without known stores: others run in its place."""
        self.parked -= 1
        self._end(rejoin, Outcome.SPLIT, detail, now, effects)

    def runs(self, start: StartRejoin) -> bool:
        """Whether this attempt still runs."""
        rejoin = self._history.get(start.rejoin_id)
        return rejoin is not None and rejoin.outcome is Outcome.RUNNING and rejoin.attempts == start.attempt

    def save(self) -> Plain:
        """What ``load`` needs besides the rejoins and slots themselves."""
        counts = [self.waiting, self.parked, self.running]
        return {
            "counts": counts,
            "admission": self._admission.save(),
            "bootstrap": self._bootstrap.save(),
            "timers": self._timers.save(),
        }

    def load(self, plain: Plain) -> None:
        """Take over what was saved; registry and history are there already."""
        self.waiting, self.parked, self.running = plain["counts"]
        self._admission.load(plain["admission"], self._history.get)
        self._bootstrap.load(plain["bootstrap"])
        self._timers.load(plain["timers"], self._history.get)
        deadline = self.next_deadline()
        self.wake_at = math.inf if deadline is None else deadline

    # Moves.

    def _set_timer(self, rejoin: Rejoin, at: float) -> None:
        self._timers.set(rejoin, at)
        self.wake_at = min(self.wake_at, at)

    def _slot(self, rejoin: Rejoin) -> Slot:
        return self._registry.nodes[rejoin.node_id].slots[rejoin.store_id]

    def _wait(self, slot: Slot, rejoin: Rejoin, rule: Rule, until: float) -> None:
        slot.waiting = rejoin
        self.waiting += 1
        rejoin.outcome, rejoin.rule = Outcome.WAITING, rule
        self._set_timer(rejoin, until)

    def _leave_wait(self, slot: Slot) -> Rejoin:
        rejoin = slot.waiting
        assert rejoin is not None
        slot.waiting = None
        if rejoin.outcome is Outcome.PARKED:
            self.parked -= 1
        else:
            self.waiting -= 1
        return rejoin

    def _park(self, rejoin: Rejoin, now: float) -> None:
        self.parked += 1
        rejoin.outcome, rejoin.rule = Outcome.PARKED, Rule.NOT_ATTACHED
        self._set_timer(rejoin, now + self._parameters.park_time)

    def _is_refuted(self, slot: Slot, rejoin: Rejoin, now: float) -> bool:
        """Whether only suspicions wait, and fresh neighbours came meanwhile."""
        if any(URGENCY[one] < SUSPICION_URGENCY for one in rejoin.all_causes()):
            return False
        return self._is_fresh(self._witness.ask_instant(slot.alive_at), now)

    def _admit(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        if self._is_refuted(slot, rejoin, now):
            self._leave_wait(slot)
            self._end(rejoin, Outcome.SKIPPED, REFUTED, now, effects)
        elif self._admission.take(now):
            self._leave_wait(slot)
            self._start(slot, rejoin, now, effects)
        else:
            self._queue(rejoin, now)

    def _queue(self, rejoin: Rejoin, now: float) -> None:
        rejoin.rule = Rule.GLOBAL_LIMIT
        rejoin.expected_at = self._admission.estimate(now)
        rejoin.urgency = min(URGENCY[cause] for cause in rejoin.all_causes())
        self._admission.push(rejoin)
        self.wake_at = min(self.wake_at, self._admission.next_at() or now)

    def _start(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        delay = None if rejoin.uncovered_at is None else now - rejoin.uncovered_at
        since = now if rejoin.uncovered_at is None else rejoin.uncovered_at
        slot.running, slot.last_start_at, slot.store.rejoin_at = rejoin, now, now
        self.running += 1
        rejoin.outcome, rejoin.deadline, rejoin.acknowledged = Outcome.RUNNING, None, False
        rejoin.uncovered_at = None
        rejoin.attempts += 1
        rejoin.started_at = now
        if rejoin.first_started_at is None:
            rejoin.first_started_at = now
        peer_ids = self._witness.ask(lambda: self._bootstrap.choose(slot, since, now))
        rejoin.bootstrap = self._bootstrap.name(peer_ids, now)
        self._set_timer(rejoin, now + self._parameters.verify_timeout)
        effects.append(
            StartRejoin(
                rejoin_id=rejoin.rejoin_id,
                node_id=rejoin.node_id,
                store_id=rejoin.store_id,
                session_id=slot.node.session_id,
                attempt=rejoin.attempts,
                rung=rejoin.rung,
                causes=rejoin.all_causes(),
                bootstrap=rejoin.bootstrap,
                timeout=self._parameters.verify_timeout * RESULT_SHARE,
                delay=delay,
            )
        )

    def _stop(self, slot: Slot, rejoin: Rejoin) -> None:
        slot.running = None
        self.running -= 1
        rejoin.deadline = None

    def _climb(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        """No proof came: try the next rung that the agent can carry out, if there is one."""
        answered = "carried out" if rejoin.acknowledged else "no answer from the agent"
        detail = f"{answered}, but no neighbour and no message within {self._parameters.verify_timeout:g} s"
        rung = next_rung(rejoin.rung, slot.node.capabilities)
        is_alone = len(slot.store.slots) == 1 and not self._witness.ask_whether(
            self._registry.liveness.has_others(slot.store.store_id, slot.node.node_id)
        )
        if is_alone:
            detail = f"{answered}, but no other peer of this store is known"
        if rung is None or is_alone:
            self._stop(slot, rejoin)
            self._end(rejoin, Outcome.UNVERIFIED, detail, now, effects)
            if not is_alone:
                self._advise_restart(slot, rejoin, effects)
            return
        rejoin.climbs += 1
        wait = self._parameters.window * min(2.0**rejoin.climbs, BACKOFF_CAP)
        follower = slot.waiting or rejoin
        follower.rung, follower.climbs = rung, rejoin.climbs
        self._try_again(slot, rejoin, (rejoin.started_at or now) + wait, Outcome.UNVERIFIED, detail, now, effects)

    @staticmethod
    def _advise_restart(slot: Slot, rejoin: Rejoin, effects: list[Effect]) -> None:
        """The last rung, once per episode: a person must not be called again for what they know."""
        if not slot.restart_advised:
            slot.restart_advised = True
            effects.append(AdviseRestart(rejoin.rejoin_id, rejoin.node_id, rejoin.store_id, rejoin.detail))

    def _try_again(
        self, slot: Slot, rejoin: Rejoin, at: float, outcome: Outcome, detail: str, now: float, effects: list[Effect]
    ) -> None:
        """Wait for a further attempt, never earlier than the window allows; a rejoin that waits anyway serves as it."""
        self._stop(slot, rejoin)
        if slot.waiting is not None:
            self._end(rejoin, outcome, f"{detail}; {slot.waiting.rejoin_id} follows", now, effects)
            return
        self._wait(slot, rejoin, Rule.BACKOFF, max(at, slot.last_start_at + self._parameters.window))
        rejoin.detail = f"{detail}; attempt {rejoin.attempts + 1} follows"
        self._announce(rejoin, effects)

    def _expire(self, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        expires_at = rejoin.latest_at() + self._parameters.park_time
        if expires_at > now:
            self._set_timer(rejoin, expires_at)
            return
        self._unbind(rejoin)
        self.parked -= 1
        detail = f"no agent attached within {self._parameters.park_time:g} s"
        self._end(rejoin, Outcome.EXPIRED, detail, now, effects)

    def _unbind(self, rejoin: Rejoin) -> None:
        """Take an expired rejoin from the slot, node or host that holds it."""
        if rejoin.store_id:
            self._slot(rejoin).waiting = None
        elif rejoin.node_id:
            self._registry.nodes[rejoin.node_id].parked = None
        else:
            host = self._registry.hosts[rejoin.host_id]
            host.parked = None
            self._registry.forget_host(host)

    def _end(self, rejoin: Rejoin, outcome: Outcome, detail: str, now: float, effects: list[Effect]) -> None:
        rejoin.outcome, rejoin.detail, rejoin.ended_at, rejoin.deadline = outcome, detail, now, None
        self._history.end(rejoin, now)
        self._announce(rejoin, effects)

    @staticmethod
    def _announce(rejoin: Rejoin, effects: list[Effect]) -> None:
        effects.append(
            AnnounceRejoin(
                rejoin_id=rejoin.rejoin_id,
                node_id=rejoin.node_id,
                store_id=rejoin.store_id,
                cause=rejoin.cause,
                outcome=rejoin.outcome,
                rung=rejoin.rung,
                attempts=rejoin.attempts,
                duration=rejoin.verified_after,
                detail=rejoin.detail,
            )
        )
