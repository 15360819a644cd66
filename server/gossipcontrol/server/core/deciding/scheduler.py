"""What time, agents and reports do to rejoins: starts in their turn, proofs, retries, the ladder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deciding.admission import Admission
from gossipcontrol.server.core.deciding.bootstrap import Bootstrap
from gossipcontrol.server.core.deciding.capture import Capture
from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.ladder import can_carry_out, higher, next_rung, top_rung
from gossipcontrol.server.core.deciding.lifecycle import TRANSITIONS, Lifecycle, Move
from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.probation import Probation
from gossipcontrol.server.core.deciding.record import Restart
from gossipcontrol.server.core.deciding.recorded_reads import RecordedReads
from gossipcontrol.server.core.deciding.registry import Node, Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin, State
from gossipcontrol.server.core.deciding.turn_size import TurnSizes
from gossipcontrol.server.core.decision import Capability, Cause, Rule, Rung
from gossipcontrol.server.core.effect import AdviseRestart, AnnounceRestart, StartRejoin
from gossipcontrol.server.core.event import (
    NEVER,
    AdviceOutdated,
    RejoinFinished,
    RejoinProved,
    RestartFinished,
    StartDelayed,
    SuspicionEnded,
)

RESULT_SHARE = 0.8
"""Part of the verify timeout within which the agent must answer; the rest is left for the proof."""
RECOVERED = "the end of what was suspected"
NOT_RECOVERED = "the suspicion ended, but nothing shows that the node recovered"
SUSPICION_OVER = "what was suspected ended before it started"
REFUTED = "fresh neighbours came before it started"
ASKER_WELL = "the node that it was to rejoin towards has a fresh neighbour again"
STREAM_ENDED = "the agent's stream ended before it was verified"
AWAY = "the owner changed, and the node's agent has not attached again yet"
ROT_FORGOTTEN = "the owner changed before it showed whether it helped"
SENT_AGAIN = "sent again, because the owner changed"
ALL_TRIED = "nodes of both sides rejoined in turn, and the store still falls apart"
RESTART_INTERVAL = 600.0
"""Seconds within which the agent of a node is told only once that a restart is advised, even if it restarts itself."""
BACKOFF_CAP = 10
"""The ladder waits at most this many windows between two rungs."""


class Asker(Protocol):
    """What asks another node to rejoin towards one."""

    def ask(self, slot: Slot, rejoin: Rejoin, now: float) -> tuple[str, float] | None:
        """Ask one because of this rejoin; returns its id and when it starts, None where nobody can be asked."""
        ...


class Scheduler:
    """Decides when a rejoin starts, what proves it, and what follows an attempt that was not proved."""

    def __init__(
        self,
        parameters: Parameters,
        sizes: TurnSizes,
        registry: Registry,
        history: History,
        reads: RecordedReads,
        output: Output,
    ) -> None:
        self._parameters = parameters
        self._sizes = sizes
        self._registry = registry
        self._history = history
        self._reads = reads
        self._output = output
        self.admission = Admission(parameters.rate, parameters.burst, sizes.trigger_starts, sizes.passed)
        self.lifecycle = Lifecycle(self.admission, registry, history, output)
        self._bootstrap = Bootstrap(registry, parameters.fanout, parameters.spread, parameters.fresh)
        self._probation = Probation(parameters.trial_time, self.lifecycle)
        self._starts = 0
        """Attempts begun; only differences count."""
        self._asker: Asker | None = None

    def use(self, asker: Asker | None) -> None:
        """Have others asked by this one, which needs the policy, which needs the scheduler."""
        self._asker = asker

    # Time.

    def advance(self, now: float) -> None:
        """Do what is due, up to a bound: the rest is due still, and follows in the next turns."""
        lifecycle, most = self.lifecycle, self._starts + self._sizes.due_starts
        for _ in range(self._sizes.due):
            if self._starts >= most or (rejoin := lifecycle.pop_due(now)) is None:
                break
            match rejoin.state:
                case State.PARKED:
                    self._expire(rejoin, now)
                case State.WAITING:
                    self._admit(rejoin, now)
                case _:
                    self._time_out(rejoin, now)
        for _ in range(self._sizes.due):
            if self._starts >= most or (rejoin := self.admission.pop(now)) is None:
                break
            if not self._skip_if_refuted(rejoin, now) and not self._park_if_away(rejoin, now):
                self.start(rejoin, now)
        lifecycle.settle()

    def _admit(self, rejoin: Rejoin, now: float) -> None:
        """Its window or backoff is over."""
        if self._skip_if_refuted(rejoin, now) or self._park_if_away(rejoin, now):
            return
        if self.admission.take(now):
            self.start(rejoin, now)
        else:
            self.lifecycle.queue(rejoin, now)

    def _skip_if_refuted(self, rejoin: Rejoin, now: float) -> bool:
        """Skip a rejoin that waits only for what fresh neighbours refute, its own or the asker's, if they came."""
        causes, slot = rejoin.all_causes(), self.lifecycle.slot(rejoin)
        guesses = [cause for cause in causes if cause is not Cause.ASKED]
        if not all(cause.is_refutable for cause in guesses):
            return False
        if guesses and not self.is_fresh(self._reads.instant(slot.alive_at), now):
            return False
        if Cause.ASKED in causes and not self._reads.instant(_alive_at(slot, rejoin.bridge)) > rejoin.latest_at():
            return False
        self.lifecycle.end(rejoin, Move.DROP, REFUTED if guesses else ASKER_WELL, now)
        return True

    def _park_if_away(self, rejoin: Rejoin, now: float) -> bool:
        """Let a rejoin that would start wait for an agent that has yet to come back from the former owner."""
        if self.lifecycle.slot(rejoin).node.reachable:
            return False
        self.lifecycle.park(rejoin, Move.DETACH, now + self._parameters.park_time)
        rejoin.detail = AWAY
        return True

    def is_fresh(self, alive_at: float, now: float) -> bool:
        """Whether a present neighbour gave a sign of life lately: then a rejoin would only feed churn."""
        return alive_at > now - self._parameters.fresh

    def _expire(self, rejoin: Rejoin, now: float) -> None:
        """A parked rejoin expires ``park_time`` after its newest trigger."""
        expires_at = rejoin.latest_at() + self._parameters.park_time
        if expires_at > now:
            self.lifecycle.set_deadline(rejoin, expires_at)
            return
        detail = f"no agent attached within {self._parameters.park_time:g} s"
        self.lifecycle.end(rejoin, Move.EXPIRE, detail, now)

    # Attempts.

    def start(self, rejoin: Rejoin, now: float) -> None:
        """Start an attempt now; window and limiter allow it."""
        slot = self.lifecycle.slot(rejoin)
        self._choose_rung(slot, rejoin, now)
        delay = None if rejoin.uncovered_at is None else now - rejoin.uncovered_at
        since = now if rejoin.uncovered_at is None else rejoin.uncovered_at
        self.lifecycle.start(rejoin)
        self._starts += 1
        slot.previous_start_at = slot.last_start_at
        slot.last_start_at = slot.store.rejoin_at = rejoin.started_at = now
        rejoin.acknowledged, rejoin.uncovered_at, rejoin.detail = False, None, ""
        rejoin.sent_again = False
        rejoin.attempts += 1
        if rejoin.first_started_at is None:
            rejoin.first_started_at = now
        choose = self._bootstrap.choose
        peer_ids = self._reads.read(lambda: choose(slot, since, now, rejoin.bridge, only_bridge=rejoin.is_asked))
        rejoin.bootstrap = self._bootstrap.name(peer_ids, now)
        self.lifecycle.set_deadline(rejoin, now + self._parameters.verify_timeout)
        self._send(slot, rejoin, delay)

    def _send(self, slot: Slot, rejoin: Rejoin, delay: float | None) -> None:
        """Have the agent carry out the attempt that runs."""
        self._output.emit(
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
                again=rejoin.sent_again,
            )
        )

    def _choose_rung(self, slot: Slot, rejoin: Rejoin, now: float) -> None:
        """While rot stands, each trigger tries the next rung; none is tried that is known to be in vain."""
        if not rejoin.attempts and rejoin.is_proved_by_recovery() and self._probation.begin(slot, rejoin, now):
            detail = f"{rejoin.rung.name.lower()}, the last rung, was tried before, and what was suspected still stands"
            self._advise_restart(slot, rejoin, detail, now)
        if rejoin.first_rung is Rung.RESTART_ADVISED and not rejoin.attempts:
            slot.restart_advised = False  # whoever restarted since the last round may have done so during the cut
            self._advise_restart(slot, rejoin, ALL_TRIED, now)
        if not rejoin.rejoin_only and can_carry_out(rejoin.first_rung, slot.node.capabilities):
            rejoin.rung = higher(rejoin.rung, rejoin.first_rung)

    def runs(self, start: StartRejoin) -> bool:
        """Whether this attempt still runs."""
        return self._running(start.rejoin_id, start.attempt) is not None

    def _running(self, rejoin_id: str, attempt: int) -> Rejoin | None:
        """The rejoin, if this attempt of it runs."""
        rejoin = self._history.get(rejoin_id)
        if rejoin is None or rejoin.state is not State.RUNNING or rejoin.attempts != attempt:
            return None
        return rejoin

    def on_finished(self, event: RejoinFinished, now: float) -> None:
        """The agent's answer to an attempt; ignored when that attempt no longer runs."""
        rejoin = self._running(event.rejoin_id, event.attempt)
        if rejoin is None:
            return
        if event.ok:
            rejoin.acknowledged = True
        elif event.retry_in is None:
            self.lifecycle.end(rejoin, Move.FAIL, event.error, now)
        else:
            self._retry(rejoin, now + event.retry_in, Move.FAIL, event.error, now)

    def on_delayed(self, event: StartDelayed, now: float) -> None:
        """An attempt begins now, and the window of its slot with it; ignored when it no longer runs."""
        rejoin = self._running(event.rejoin_id, event.attempt)
        if rejoin is None:
            return
        if rejoin.attempts == 1:
            rejoin.first_started_at = now
        self._begin_again(self.lifecycle.slot(rejoin), rejoin, now)

    def _begin_again(self, slot: Slot, rejoin: Rejoin, now: float) -> None:
        """The proof time of the attempt that runs begins now, and the window of its slot with it."""
        slot.last_start_at = slot.store.rejoin_at = rejoin.started_at = now
        self.lifecycle.set_deadline(rejoin, now + self._parameters.verify_timeout)
        waiting, ends_at = slot.waiting, now + self._parameters.window
        if waiting is not None and waiting.state is State.WAITING and waiting.deadline is not None:
            self.lifecycle.set_deadline(waiting, max(waiting.deadline, ends_at))
        elif waiting is not None and waiting.state is State.QUEUED:
            self.lifecycle.wait(waiting, Move.DELAY, Rule.WINDOW, ends_at)

    def _time_out(self, rejoin: Rejoin, now: float) -> None:
        """The proof time, or the time on probation, is over."""
        slot = self.lifecycle.slot(rejoin)
        returns_by = slot.node.returns_by
        if returns_by is not None:
            # Nobody can say anything about it before the agent is back.
            self.lifecycle.set_deadline(rejoin, max(returns_by, now) + self._parameters.verify_timeout)
        elif rejoin.state is State.AWAITING_RECOVERY:
            self._probation.forget(slot, "nobody suspected it any longer, and nobody cleared it", now)
        elif rejoin.state is State.ASKING:
            self._fail(slot, rejoin, rejoin.detail, now)
        elif not rejoin.is_proved_by_recovery():
            self._climb(slot, rejoin, now)
        elif slot.active_rot:
            self._probation.hold(rejoin, now)
        else:
            self.lifecycle.end(rejoin, Move.GIVE_UP, NOT_RECOVERED, now)

    def _climb(self, slot: Slot, rejoin: Rejoin, now: float) -> None:
        """No proof came: have another node help, and try the next rung that the agent can carry out."""
        answered = "carried out" if rejoin.acknowledged else "no answer from the agent"
        is_alone = len(slot.store.slots) == 1 and not self._reads.whether(
            self._registry.liveness.has_others(slot.store.store_id, slot.node.node_id)
        )
        if is_alone:
            self.lifecycle.end(rejoin, Move.GIVE_UP, f"{answered}, but no other peer of this store is known", now)
            return
        is_asked = rejoin.is_asked
        if not is_asked and (rejoin.rejoin_only or self._waits_for_absent_peers(slot, rejoin)):
            self._fail(slot, rejoin, f"{answered}, but no other peer of this store is online", now)
            return
        detail = f"{answered}, but no neighbour and no message within {self._parameters.verify_timeout:g} s"
        is_pair = not is_asked and self._is_one_of_two(slot)
        asked = self._ask_peer(slot, rejoin, is_pair, now)
        if asked is not None:
            detail = f"{detail}; {asked[0]} is asked to rejoin towards it"
        rung = None if is_asked else (top_rung if is_pair else next_rung)(rejoin.rung, slot.node.capabilities)
        if rung is not None:
            self._climb_to(rung, slot, rejoin, is_pair, detail, now)
        elif asked is not None and asked[1] + self._parameters.verify_timeout > now:
            self._wait_for_peer(slot, rejoin, asked[1], detail, now)
        else:
            self._fail(slot, rejoin, detail, now)

    def _climb_to(self, rung: Rung, slot: Slot, rejoin: Rejoin, is_pair: bool, detail: str, now: float) -> None:
        """Try a rung after a wait that grows; of two devices, neither of which others may help, after the window."""
        rejoin.climbs += 1
        wait = self._parameters.window * (1.0 if is_pair else min(2.0**rejoin.climbs, BACKOFF_CAP))
        follower = slot.waiting or rejoin
        follower.rung, follower.climbs = rung, rejoin.climbs
        if follower is not rejoin:
            follower.climbs_since = rejoin.in_vain_since
        self._retry(rejoin, (rejoin.started_at or now) + wait, Move.GIVE_UP, detail, now)

    def _ask_peer(self, slot: Slot, rejoin: Rejoin, is_pair: bool, now: float) -> tuple[str, float] | None:
        """Have another node rejoin towards this one; of two, the other's own start since then is as good."""
        if self._asker is None:
            return None
        if is_pair and (since := rejoin.in_vain_since) is not None:
            others = (one for one in slot.store.slots.values() if one is not slot and one.node.attached)
            # The first one: the other climbs, too, and its newest attempt never has had its time.
            starts = ((one.previous_start_at, one.last_start_at, one.node.node_id) for one in others)
            started = [(before if before >= since else last, node_id) for before, last, node_id in starts]
            at, node_id = max(started, default=(NEVER, ""))
            if at >= since:
                return node_id, at
        return self._asker.ask(slot, rejoin, now)

    def _wait_for_peer(self, slot: Slot, rejoin: Rejoin, starts_at: float, detail: str, now: float) -> None:
        """The agent has no rung left, but what another node does may still prove it, in its proof time."""
        if slot.asking is not None:
            self.lifecycle.end(slot.asking, Move.GIVE_UP, f"{slot.asking.detail}; {rejoin.rejoin_id} follows", now)
        starts_at = min(starts_at, now + self._parameters.window)
        self.lifecycle.ask(rejoin, starts_at + self._parameters.verify_timeout, detail)

    def _fail(self, slot: Slot, rejoin: Rejoin, detail: str, now: float) -> None:
        """Nothing is left to try: a person or a supervisor should know."""
        self.lifecycle.end(rejoin, Move.GIVE_UP, detail, now)
        self._advise_restart(slot, rejoin, detail, now)

    def _is_one_of_two(self, slot: Slot) -> bool:
        store_id, node_id = slot.store.store_id, slot.node.node_id
        is_pair = self._registry.liveness.has_one_other(store_id, node_id)
        return self._reads.whether_named(("", "one other", store_id, node_id), is_pair)

    def _waits_for_absent_peers(self, slot: Slot, rejoin: Rejoin) -> bool:
        """Whether a node merely guesses that it is cut off while all others are away; a probe will find them."""
        can_probe = Capability.SYNC_WITH_PEER in slot.node.capabilities
        return can_probe and all(one.is_refutable for one in rejoin.all_causes()) and self._are_others_away(slot)

    def _are_others_away(self, slot: Slot) -> bool:
        store_id, node_id = slot.store.store_id, slot.node.node_id
        away = self._registry.liveness.are_others_away(store_id, node_id)
        return self._reads.whether_named(("", "others away", store_id, node_id), away)

    def _retry(self, rejoin: Rejoin, at: float, otherwise: Move, detail: str, now: float) -> None:
        """Wait for a further attempt, not before the window ends; a rejoin that waits already serves as it."""
        slot = self.lifecycle.slot(rejoin)
        if slot.waiting is not None:
            slot.waiting.take_over(rejoin)
            self.lifecycle.end(rejoin, otherwise, f"{detail}; {slot.waiting.rejoin_id} follows", now)
            return
        self.lifecycle.wait(rejoin, Move.RETRY, Rule.BACKOFF, max(at, slot.last_start_at + self._parameters.window))
        rejoin.detail = f"{detail}; attempt {rejoin.attempts + 1} follows"
        self._output.emit(rejoin.announce())

    def _advise_restart(self, slot: Slot, rejoin: Rejoin, detail: str, now: float) -> None:
        """The last rung, once per episode: nobody is called again for what they know, nor because peers are away."""
        if not slot.restart_advised and not rejoin.rejoin_only and not self._are_others_away(slot):
            slot.restart_advised = True
            session_id = self._session_to_tell(slot.node, now)
            self._output.emit(AdviseRestart(rejoin.rejoin_id, rejoin.node_id, rejoin.store_id, detail, session_id))

    @staticmethod
    def _session_to_tell(node: Node, now: float) -> str:
        """The stream on which an agent is told of an advice, at most now and then, however many stores it is about."""
        if not node.reachable or node.told_at + RESTART_INTERVAL > now:
            return ""
        node.told_at = now
        return node.session_id

    def on_restarted(self, event: RestartFinished, now: float) -> None:
        """What became of the operator's command; once for each rejoin of the node whose agent says so."""
        rejoin = self._history.get(event.rejoin_id)
        if rejoin is None or rejoin.node_id != event.node_id or rejoin.restart is not None:
            self._output.changed_nothing = True
            return
        rejoin.restart = Restart(now, event.exit_code, event.duration, event.error)
        self._output.emit(
            AnnounceRestart(
                rejoin.rejoin_id, rejoin.node_id, rejoin.store_id, event.exit_code, event.duration, event.error
            )
        )

    # Proofs.

    def unproved(self, slot: Slot) -> Rejoin | None:
        """The rejoin that a sign of life would prove: the one that runs, or one that only waits to be tried again."""
        rejoin = slot.running
        if rejoin is None:
            rejoin = slot.waiting
            if rejoin is None or rejoin.started_at is None or rejoin.uncovered_at is not None:
                return None
            if rejoin.state is State.PARKED:
                return None
        return None if rejoin.is_proved_by_recovery() else rejoin

    def prove(self, slot: Slot, alive_at: float, proof: str, now: float) -> None:
        """A sign of life at ``alive_at``: if it is newer than the last start, the rejoin worked, late or in time."""
        if slot.restart_advised and not slot.active_rot and alive_at > slot.last_start_at:
            slot.restart_advised = False
            self._output.log(AdviceOutdated(slot.node.node_id, slot.store.store_id))
        for rejoin in (self.unproved(slot), slot.asking):
            if rejoin is not None and rejoin.started_at is not None and alive_at > rejoin.started_at:
                self._output.log(RejoinProved(rejoin.rejoin_id, proof))
                self._verify(rejoin, proof, now)

    def on_proved(self, event: RejoinProved, now: float) -> None:
        """The logged form of a proof."""
        rejoin = self._history.get(event.rejoin_id)
        if rejoin is not None and Move.PROVE in TRANSITIONS.get(rejoin.state, ()):
            self._verify(rejoin, event.what, now)

    def _verify(self, rejoin: Rejoin, proof: str, now: float) -> None:
        assert rejoin.started_at is not None
        rejoin.verified_after = now - (rejoin.first_started_at or rejoin.started_at)
        again = f"; {SENT_AGAIN}" if rejoin.sent_again else ""
        self.lifecycle.end(rejoin, Move.PROVE, f"verified by {proof}{again}", now)

    def on_suspicion_ended(self, slot: Slot, ended: SuspicionEnded, now: float) -> None:
        """Rot stands no longer: what ran because of it worked if the node recovered; what waits has nothing to do."""
        if ended.cause not in slot.active_rot:
            return
        slot.active_rot -= {ended.cause}
        if slot.active_rot:
            return
        running, waiting, held = slot.running, slot.waiting, slot.awaiting_recovery
        if ended.healed:
            self._probation.reset(slot)
            for rejoin in (held, running):
                if rejoin is not None and rejoin.is_proved_by_recovery():
                    self._verify(rejoin, RECOVERED, now)
        elif held is not None:
            self._probation.give_up(slot, NOT_RECOVERED, now)
            if slot.node.attached and next_rung(held.rung, slot.node.capabilities) is None:
                self._advise_restart(slot, held, NOT_RECOVERED, now)
        if waiting is not None and waiting.is_proved_by_recovery():
            self.lifecycle.end(waiting, Move.DROP, SUSPICION_OVER, now)

    def forget_rot(self, node: Node, now: float) -> None:
        """A new run of the service knows of no rot yet: what stands will be found again."""
        for slot in node.slots.values():
            self._probation.forget(slot, "the service restarted before it showed whether it helped", now)

    # Agents come and go.

    def await_return(self, node: Node, now: float) -> None:
        """The owner changed: what runs goes on once the agent is back, and what would start waits for it."""
        for slot in node.slots.values():
            self._probation.forget(slot, ROT_FORGOTTEN, now)
            if slot.running is not None and node.attached:
                slot.running.detail = AWAY

    def send_again(self, node: Node, now: float) -> None:
        """The agent is back, and nobody knows which commands of the former owner it had: those that run are repeated.

        Under the same attempt, so that an agent that had one answers with its result and carries out nothing twice.
        """
        for slot in node.slots.values():
            rejoin = slot.running
            if rejoin is not None:
                self._begin_again(slot, rejoin, now)
                rejoin.acknowledged, rejoin.sent_again = False, True
                rejoin.detail = f"attempt {rejoin.attempts} was {SENT_AGAIN}"
                self._send(slot, rejoin, None)

    def attach(self, node: Node, now: float) -> int:
        """Let what was parked for a node go on; returns how many rejoins that were."""
        unparked = 0
        for slot in node.slots.values():
            rejoin = slot.waiting
            if rejoin is not None and rejoin.state is State.PARKED:
                unparked += 1
                rejoin.detail = "" if rejoin.detail == AWAY else rejoin.detail
                start_at = max(now, slot.last_start_at + self._parameters.window)
                self.lifecycle.wait(rejoin, Move.ATTACH, Rule.WINDOW, start_at)
        self.advance(now)
        return unparked

    def detach(self, node: Node, now: float) -> None:
        """Park what waits or runs for a node: a command on a lost stream may never have arrived."""
        expires_at = now + self._parameters.park_time
        for slot in node.slots.values():
            self._stop_holding(slot, "the agent's stream ended before it showed whether it helped", now)
            running, waiting = slot.running, slot.waiting
            if running is not None and waiting is None:
                running.detail = STREAM_ENDED
                self.lifecycle.park(running, Move.DETACH, expires_at)
            elif running is not None and waiting is not None:
                waiting.take_over(running)
                self.lifecycle.end(running, Move.FAIL, f"{STREAM_ENDED}; {waiting.rejoin_id} follows", now)
            if waiting is not None and waiting.state is not State.PARKED:
                self.lifecycle.park(waiting, Move.DETACH, expires_at)

    def drop(self, slot: Slot, reason: str, now: float) -> None:
        """End what waits or runs in a slot that goes away."""
        self._stop_holding(slot, reason, now)
        for rejoin in (slot.running, slot.waiting):
            if rejoin is not None:
                self.lifecycle.end(rejoin, Move.DROP, reason, now)

    def _stop_holding(self, slot: Slot, detail: str, now: float) -> None:
        """End what runs no more, and waits for something that would show whether it helped."""
        self._probation.give_up(slot, detail, now)
        if slot.asking is not None:
            self.lifecycle.end(slot.asking, Move.GIVE_UP, detail, now)

    def split(self, parked: Rejoin, node: Node, now: float) -> None:
        """End a rejoin of a host or node without known stores: each store of the node that came has one of its own."""
        self.lifecycle.end(parked, Move.SPLIT, f"node {node.node_id} attached", now)

    # What a trigger changes of a rejoin that waits.

    def press(self, rejoin: Rejoin, urgency: int) -> None:
        """A more urgent trigger shares a waiting rejoin."""
        rejoin.urgency = urgency
        if rejoin.queued:
            self.admission.push(rejoin)

    def end_backoff(self, rejoin: Rejoin, at: float) -> None:
        """A new trigger shares a retry: it starts at this instant, if that is earlier."""
        rejoin.rule = Rule.WINDOW
        if rejoin.deadline is not None and at < rejoin.deadline:
            self.lifecycle.set_deadline(rejoin, at)

    # Snapshots.

    def capture(self, capture: Capture) -> Plain:
        """What ``load`` needs besides the rejoins and slots themselves."""
        saved = {"admission": self.admission.capture(capture), "bootstrap": self._bootstrap.save()}
        return {**self.lifecycle.capture(capture), **saved}

    def load(self, plain: Plain) -> None:
        """Take over what was saved; registry and history are there already."""
        self.admission.load(plain["admission"], self._history.get)
        self._bootstrap.load(plain["bootstrap"])
        self.lifecycle.load(plain)


def _alive_at(slot: Slot, node_ids: Sequence[str]) -> float:
    """Since when all of these nodes of a store have had a sign of life of a neighbour."""
    asked_by = (slot.store.slots.get(node_id) for node_id in node_ids)
    return min((one.alive_at for one in asked_by if one is not None), default=NEVER)
