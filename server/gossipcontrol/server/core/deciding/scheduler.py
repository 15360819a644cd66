"""The life of rejoins: window, turn, start, proof, retry, ladder, park, end. What triggers want is for the judge."""

from __future__ import annotations

import math

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deadline import earliest
from gossipcontrol.server.core.deciding.admission import Admission
from gossipcontrol.server.core.deciding.bootstrap import Bootstrap
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.ladder import next_rung
from gossipcontrol.server.core.deciding.probation import CLEARED, UNHEALED, Probation
from gossipcontrol.server.core.deciding.recorded_reads import RecordedReads
from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.deciding.timer import Timers
from gossipcontrol.server.core.decision import IS_REFUTABLE, URGENCY, Outcome, Rule
from gossipcontrol.server.core.effect import AdviseRestart, Effect, StartRejoin
from gossipcontrol.server.core.event import (
    AdviceOutdated,
    Event,
    RejoinFinished,
    RejoinProved,
    StartDelayed,
    SuspicionEnded,
)
from gossipcontrol.server.core.parameter import Parameters

RESULT_SHARE = 0.8
"""Part of the verify timeout within which the agent must answer; the rest is left for the proof."""
ENDED = "what was suspected ended before it started"
REFUTED = "fresh neighbours came before it started"
BACKOFF_CAP = 10
"""The ladder waits at most this many windows between two rungs."""


class Scheduler:
    """Moves every rejoin through its states. A slot has at most one that waits and one that runs."""

    def __init__(self, parameters: Parameters, registry: Registry, history: History, witness: RecordedReads) -> None:
        self._parameters = parameters
        self._registry = registry
        self._history = history
        self._witness = witness
        self.admission = Admission(parameters.rate, parameters.burst)
        self._bootstrap = Bootstrap(registry, parameters.fanout, parameters.spread, parameters.fresh)
        self._timers = Timers()
        self._trial = Probation(parameters.trial_time, self._timers, self._end)
        self.wake_at = math.inf
        """Nothing is due before this instant."""
        self.waiting = 0
        """In a window, backing off, or in the fair queue."""
        self.parked = 0
        self.running = 0

    # Time.

    def next_deadline(self) -> float | None:
        """When ``advance`` has something to do; None while nothing waits."""
        return earliest(self._timers.next_at(), self.admission.next_at())

    def advance(self, now: float, effects: list[Effect]) -> None:
        """Do what is due."""
        while (rejoin := self._timers.pop(now)) is not None:
            if rejoin.outcome is Outcome.RUNNING:
                self._timed_out(self._slot(rejoin), rejoin, now, effects)
            elif rejoin.outcome is Outcome.PARKED:
                self._expire(rejoin, now, effects)
            else:
                self._admit(self._slot(rejoin), rejoin, now, effects)
        while (rejoin := self.admission.pop(now)) is not None:
            slot = self._slot(rejoin)
            self._leave_wait(slot)
            if self._is_refuted(slot, rejoin, now):
                self._end(rejoin, Outcome.SKIPPED, REFUTED, now, effects)
            else:
                self.start(slot, rejoin, now, effects)
        deadline = self.next_deadline()
        self.wake_at = math.inf if deadline is None else deadline

    # What agents tell.

    def unproved(self, slot: Slot) -> Rejoin | None:
        """The rejoin that a sign of life would prove: the one that runs, or one that only waits to be tried again."""
        rejoin = slot.running
        if rejoin is None:
            rejoin = slot.waiting
            if rejoin is None or rejoin.started_at is None or rejoin.uncovered_at is not None:
                return None
            if rejoin.outcome is not Outcome.WAITING:
                return None
        return None if rejoin.needs_clearance() else rejoin

    def prove(
        self, slot: Slot, alive_at: float, what: str, now: float, effects: list[Effect], facts: list[Event]
    ) -> None:
        """A sign of life at ``alive_at``: if it is newer than the last start, the rejoin worked, late or in time."""
        if slot.restart_advised and not slot.standing and alive_at > slot.last_start_at:
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
        elif rejoin is slot.on_trial:
            slot.on_trial = None
        else:
            self.admission.remove(self._leave_wait(slot))
        self._end(rejoin, Outcome.VERIFIED, f"verified by {what}", now, effects)

    def clear(self, slot: Slot, ended: SuspicionEnded, now: float, effects: list[Effect]) -> None:
        """Rot stands no longer: what ran because of it worked if it healed, and what still waits has nothing to do."""
        if ended.cause not in slot.standing:
            return
        slot.standing -= {ended.cause}
        if slot.standing:
            return
        running, waiting, on_trial = slot.running, slot.waiting, slot.on_trial
        if ended.healed:
            self._trial.heal(slot)
            for rejoin in (on_trial, running):
                if rejoin is not None and rejoin.needs_clearance():
                    self._verify(slot, rejoin, CLEARED, now, effects)
        else:
            self._trial.end(slot, UNHEALED, now, effects)
            if on_trial is not None and slot.node.attached and next_rung(on_trial.rung, slot.node.capabilities) is None:
                self._advise_restart(slot, on_trial, UNHEALED, effects)
        if waiting is not None and waiting.needs_clearance():
            self.admission.remove(self._leave_wait(slot))
            self._end(waiting, Outcome.SKIPPED, ENDED, now, effects)

    def forget_rot(self, node: Node, now: float, effects: list[Effect]) -> None:
        """The service runs anew, and knows of no rot yet: what stands will be found again."""
        for slot in node.slots.values():
            self._trial.forget(slot, "the service began anew before it showed whether it helped", now, effects)

    def finish(self, event: RejoinFinished, now: float, effects: list[Effect]) -> None:
        """The agent's answer to an attempt; ignored when that attempt no longer runs."""
        rejoin = self._running(event.rejoin_id, event.attempt)
        if rejoin is None:
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

    def delayed(self, event: StartDelayed, now: float, effects: list[Effect]) -> None:
        """An attempt begins now, and its slot's window with it; ignored when it no longer runs."""
        del effects
        rejoin = self._running(event.rejoin_id, event.attempt)
        if rejoin is None:
            return
        slot = self._slot(rejoin)
        slot.last_start_at = slot.store.rejoin_at = rejoin.started_at = now
        if rejoin.attempts == 1:
            rejoin.first_started_at = now
        self._set_timer(rejoin, now + self._parameters.verify_timeout)
        waiting = slot.waiting
        if waiting is not None and waiting.outcome is Outcome.WAITING and waiting.deadline is not None:
            self._set_timer(waiting, max(waiting.deadline, now + self._parameters.window))

    def attach(self, node: Node, now: float, effects: list[Effect]) -> int:
        """Let what was parked for a node go on; returns how many rejoins that were."""
        unparked = 0
        for slot in node.slots.values():
            rejoin = slot.waiting
            if rejoin is not None and rejoin.outcome is Outcome.PARKED:
                unparked += 1
                self._count_parked(rejoin, -1)
                self.wait(slot, rejoin, Rule.WINDOW, max(now, slot.last_start_at + self._parameters.window))
        self.advance(now, effects)
        return unparked

    def detach(self, node: Node, now: float, effects: list[Effect]) -> None:
        """Park what waits or runs for a node: a command on a lost stream may never have arrived."""
        for slot in node.slots.values():
            self._trial.end(slot, "the agent's stream ended before it showed whether it helped", now, effects)
            running, waiting = slot.running, slot.waiting
            if running is not None:
                self._stop(slot, running)
                if waiting is None:
                    slot.waiting = running
                    running.detail = "the agent's stream ended before it was verified"
                    self.park(running, now)
                else:
                    detail = f"the agent's stream ended before it was verified; {waiting.rejoin_id} follows"
                    self._end(running, Outcome.FAILED, detail, now, effects)
            if waiting is not None and waiting.outcome is Outcome.WAITING:
                self.waiting -= 1
                self.admission.remove(waiting)
                self.park(waiting, now)

    def drop(self, slot: Slot, reason: str, now: float, effects: list[Effect]) -> None:
        """End what waits or runs in a slot that goes away."""
        self._trial.end(slot, reason, now, effects)
        if slot.running is not None:
            running = slot.running
            self._stop(slot, running)
            self._end(running, Outcome.SKIPPED, reason, now, effects)
        if slot.waiting is not None:
            waiting = self._leave_wait(slot)
            self.admission.remove(waiting)
            self._end(waiting, Outcome.SKIPPED, reason, now, effects)

    def split(self, rejoin: Rejoin, detail: str, now: float, effects: list[Effect]) -> None:
        """End a rejoin of a host or node without known stores: others run in its place."""
        self._count_parked(rejoin, -1)
        self._end(rejoin, Outcome.SPLIT, detail, now, effects)

    def runs(self, start: StartRejoin) -> bool:
        """Whether this attempt still runs."""
        return self._running(start.rejoin_id, start.attempt) is not None

    def save(self) -> Plain:
        """What ``load`` needs besides the rejoins and slots themselves."""
        counts = [self.waiting, self.parked, self.running]
        return {
            "counts": counts,
            "admission": self.admission.save(),
            "bootstrap": self._bootstrap.save(),
            "timers": self._timers.save(),
        }

    def load(self, plain: Plain) -> None:
        """Take over what was saved; registry and history are there already."""
        self.waiting, self.parked, self.running = plain["counts"]
        self.admission.load(plain["admission"], self._history.get)
        self._bootstrap.load(plain["bootstrap"])
        self._timers.load(plain["timers"], self._history.get)
        deadline = self.next_deadline()
        self.wake_at = math.inf if deadline is None else deadline

    # Moves of the judge.

    def is_fresh(self, alive_at: float, now: float) -> bool:
        """Whether a present neighbour gave a sign of life of late: then a rejoin would only feed churn."""
        return alive_at > now - self._parameters.fresh

    def wait(self, slot: Slot, rejoin: Rejoin, rule: Rule, until: float) -> None:
        """Let a rejoin wait for an instant, and make it the one that shares all triggers of its slot."""
        slot.waiting = rejoin
        self.waiting += 1
        rejoin.outcome, rejoin.rule = Outcome.WAITING, rule
        self._set_timer(rejoin, until)

    def line_up(self, slot: Slot, rejoin: Rejoin, now: float) -> None:
        """Let a rejoin that the limiter delays wait in the fair queue."""
        slot.waiting = rejoin
        self.waiting += 1
        self._queue(rejoin, now)

    def park(self, rejoin: Rejoin, now: float) -> None:
        """Let a rejoin wait for an agent, or expire."""
        self._count_parked(rejoin, 1)
        rejoin.outcome, rejoin.rule = Outcome.PARKED, Rule.NOT_ATTACHED
        self._set_timer(rejoin, now + self._parameters.park_time)

    def press(self, rejoin: Rejoin, urgency: int) -> None:
        """A trigger of this urgency shares a waiting rejoin."""
        if urgency < rejoin.urgency:
            rejoin.urgency = urgency
            if rejoin.queued:
                self.admission.push(rejoin)

    def hasten(self, rejoin: Rejoin, at: float) -> None:
        """End the backoff of a retry, for a new trigger shares it: it starts at this instant, if that is earlier."""
        rejoin.rule = Rule.WINDOW
        if rejoin.deadline is not None and at < rejoin.deadline:
            self._set_timer(rejoin, at)

    def start(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        """Start an attempt now; window and limiter allow it."""
        if not rejoin.attempts and rejoin.needs_clearance() and self._trial.begin(slot, rejoin, now, effects):
            told = f"{rejoin.rung.name.lower()}, the last rung, was tried before, and what was suspected still stands"
            self._advise_restart(slot, rejoin, told, effects)
        delay = None if rejoin.uncovered_at is None else now - rejoin.uncovered_at
        since = now if rejoin.uncovered_at is None else rejoin.uncovered_at
        slot.running, slot.last_start_at, slot.store.rejoin_at = rejoin, now, now
        self.running += 1
        rejoin.outcome, rejoin.deadline, rejoin.acknowledged = Outcome.RUNNING, None, False
        rejoin.uncovered_at, rejoin.detail = None, ""
        rejoin.attempts += 1
        rejoin.started_at = now
        if rejoin.first_started_at is None:
            rejoin.first_started_at = now
        peer_ids = self._witness.ask(lambda: self._bootstrap.choose(slot, since, now, rejoin.bridge))
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

    # Moves of its own.

    def _set_timer(self, rejoin: Rejoin, at: float) -> None:
        self._timers.set(rejoin, at)
        self.wake_at = min(self.wake_at, at)

    def _count_parked(self, rejoin: Rejoin, change: int) -> None:
        self.parked += change
        self._registry.count_parked(rejoin.node_id, change)

    def _slot(self, rejoin: Rejoin) -> Slot:
        return self._registry.nodes[rejoin.node_id].slots[rejoin.store_id]

    def _running(self, rejoin_id: str, attempt: int) -> Rejoin | None:
        """The rejoin, if this attempt of it runs; one on trial is RUNNING still, but its attempt is over."""
        rejoin = self._history.get(rejoin_id)
        if rejoin is None or rejoin.outcome is not Outcome.RUNNING or rejoin.attempts != attempt:
            return None
        return rejoin if self._slot(rejoin).running is rejoin else None

    def _leave_wait(self, slot: Slot) -> Rejoin:
        rejoin = slot.waiting
        assert rejoin is not None
        slot.waiting = None
        if rejoin.outcome is Outcome.PARKED:
            self._count_parked(rejoin, -1)
        else:
            self.waiting -= 1
        return rejoin

    def _is_refuted(self, slot: Slot, rejoin: Rejoin, now: float) -> bool:
        """Whether only what fresh neighbours refute waits, and they came meanwhile."""
        if not all(IS_REFUTABLE[cause] for cause in rejoin.all_causes()):
            return False
        return self.is_fresh(self._witness.ask_instant(slot.alive_at), now)

    def _admit(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        if self._is_refuted(slot, rejoin, now):
            self._leave_wait(slot)
            self._end(rejoin, Outcome.SKIPPED, REFUTED, now, effects)
        elif self.admission.take(now):
            self._leave_wait(slot)
            self.start(slot, rejoin, now, effects)
        else:
            self._queue(rejoin, now)

    def _queue(self, rejoin: Rejoin, now: float) -> None:
        rejoin.rule = Rule.GLOBAL_LIMIT
        rejoin.expected_at = self.admission.estimate(now)
        rejoin.urgency = min(URGENCY[cause] for cause in rejoin.all_causes())
        self.admission.push(rejoin)
        self.wake_at = min(self.wake_at, self.admission.next_at() or now)

    def _stop(self, slot: Slot, rejoin: Rejoin) -> None:
        slot.running = None
        self.running -= 1
        rejoin.deadline = None

    def _timed_out(self, slot: Slot, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        if rejoin is slot.on_trial:
            self._trial.forget(slot, "nobody suspected it any longer, and nobody cleared it", now, effects)
        elif rejoin.needs_clearance():
            self._stop(slot, rejoin)
            if slot.standing:
                self._trial.hold(slot, rejoin, now)
            else:
                self._end(rejoin, Outcome.UNVERIFIED, UNHEALED, now, effects)
        else:
            self._climb(slot, rejoin, now, effects)

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
                self._advise_restart(slot, rejoin, detail, effects)
            return
        rejoin.climbs += 1
        wait = self._parameters.window * min(2.0**rejoin.climbs, BACKOFF_CAP)
        follower = slot.waiting or rejoin
        follower.rung, follower.climbs = rung, rejoin.climbs
        self._try_again(slot, rejoin, (rejoin.started_at or now) + wait, Outcome.UNVERIFIED, detail, now, effects)

    @staticmethod
    def _advise_restart(slot: Slot, rejoin: Rejoin, detail: str, effects: list[Effect]) -> None:
        """The last rung, once per episode: a person must not be called again for what they know."""
        if not slot.restart_advised:
            slot.restart_advised = True
            effects.append(AdviseRestart(rejoin.rejoin_id, rejoin.node_id, rejoin.store_id, detail))

    def _try_again(
        self, slot: Slot, rejoin: Rejoin, at: float, outcome: Outcome, detail: str, now: float, effects: list[Effect]
    ) -> None:
        """Wait for a further attempt, never earlier than the window allows; a rejoin that waits anyway serves as it."""
        self._stop(slot, rejoin)
        if slot.waiting is not None:
            self._end(rejoin, outcome, f"{detail}; {slot.waiting.rejoin_id} follows", now, effects)
            return
        self.wait(slot, rejoin, Rule.BACKOFF, max(at, slot.last_start_at + self._parameters.window))
        rejoin.detail = f"{detail}; attempt {rejoin.attempts + 1} follows"
        effects.append(rejoin.announce())

    def _expire(self, rejoin: Rejoin, now: float, effects: list[Effect]) -> None:
        expires_at = rejoin.latest_at() + self._parameters.park_time
        if expires_at > now:
            self._set_timer(rejoin, expires_at)
            return
        self._unbind(rejoin)
        self._count_parked(rejoin, -1)
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
        effects.append(rejoin.announce())
