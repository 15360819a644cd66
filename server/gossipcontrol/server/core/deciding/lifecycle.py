"""The life of a rejoin: a transition table, and the one place that carries transitions out.

Everything that affects the state of a rejoin lives here: the table, what holds it (a slot, a node or a host), its
deadline, its place in the fair queue, and the counters. The diagram in ``docs/algorithm/deciding.md`` is drawn from the
same table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from enum import IntEnum

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deadline import earliest
from gossipcontrol.server.core.deciding.admission import Admission
from gossipcontrol.server.core.deciding.capture import Capture
from gossipcontrol.server.core.deciding.history import History, has_timer
from gossipcontrol.server.core.deciding.output import Output
from gossipcontrol.server.core.deciding.registry import Registry, Slot
from gossipcontrol.server.core.deciding.rejoin import Rejoin, State
from gossipcontrol.server.core.deciding.timer import Timers
from gossipcontrol.server.core.decision import Outcome, Rule, Rung


class Move(IntEnum):
    """Why a rejoin goes from one state to another, in the words of the diagram."""

    DELAY = 1, "its window has not ended"
    LIMIT = 2, "the global limiter delays it"
    PARK = 3, "no agent is attached"
    START = 4, "window and limiter allow it"
    RETRY = 5, "an attempt failed or was not proved, and another follows"
    HOLD = 6, "its proof time is over, and what was suspected still stands"
    ATTACH = 7, "an agent attached"
    DETACH = 8, "the agent's stream ended"
    PROVE = 9, "it is proved"
    FAIL = 10, "it failed for good, or another rejoin follows"
    GIVE_UP = 11, "no proof came"
    EXPIRE = 12, "no agent attached in time"
    DROP = 13, "there is nothing left to do"
    SPLIT = 14, "its stores are known now, and each has a rejoin of its own"
    ASK = 15, "it has no rung left, and another node is asked to rejoin towards it"

    text: str

    def __new__(cls, number: int, text: str) -> Move:
        """A move with its words."""
        move = int.__new__(cls, number)
        move._value_ = number
        move.text = text
        return move


TRANSITIONS: dict[State, dict[Move, State]] = {
    State.NEW: {
        Move.START: State.RUNNING,
        Move.DELAY: State.WAITING,
        Move.LIMIT: State.QUEUED,
        Move.PARK: State.PARKED,
        Move.DROP: State.SKIPPED,
    },
    State.WAITING: {
        Move.START: State.RUNNING,
        Move.LIMIT: State.QUEUED,
        Move.DETACH: State.PARKED,
        Move.PROVE: State.VERIFIED,
        Move.DROP: State.SKIPPED,
    },
    State.QUEUED: {
        Move.START: State.RUNNING,
        Move.DELAY: State.WAITING,
        Move.DETACH: State.PARKED,
        Move.PROVE: State.VERIFIED,
        Move.DROP: State.SKIPPED,
    },
    State.PARKED: {
        Move.ATTACH: State.WAITING,
        Move.SPLIT: State.SPLIT,
        Move.EXPIRE: State.EXPIRED,
        Move.DROP: State.SKIPPED,
    },
    State.RUNNING: {
        Move.PROVE: State.VERIFIED,
        Move.RETRY: State.WAITING,
        Move.HOLD: State.AWAITING_RECOVERY,
        Move.ASK: State.ASKING,
        Move.DETACH: State.PARKED,
        Move.FAIL: State.FAILED,
        Move.GIVE_UP: State.UNVERIFIED,
        Move.DROP: State.SKIPPED,
    },
    State.AWAITING_RECOVERY: {
        Move.PROVE: State.VERIFIED,
        Move.GIVE_UP: State.UNVERIFIED,
    },
    State.ASKING: {
        Move.PROVE: State.VERIFIED,
        Move.GIVE_UP: State.UNVERIFIED,
    },
}
"""What may happen to a rejoin in each state; a state that is no key ends it."""

OUTCOMES = {state: Outcome[state.name] for state in State if state.name in Outcome.__members__} | {
    State.QUEUED: Outcome.WAITING,
    State.AWAITING_RECOVERY: Outcome.RUNNING,
    State.ASKING: Outcome.RUNNING,
}
"""What clients see of each state but NEW, which lasts no longer than the decision."""


class Lifecycle:
    """Carries out the moves of every rejoin.

    A slot holds at most one that waits, one that runs, one on probation, and one for which another node was asked.

    ``waiting``, ``parked`` and ``running`` count rejoins over the whole service: in a window, backing off or in the
    fair queue; parked; carried out by agents.
    """

    def __init__(self, admission: Admission, registry: Registry, history: History, output: Output) -> None:
        self.waiting = 0
        self.parked = 0
        self.running = 0
        self.wake_at = math.inf
        """Nothing is due before this instant."""
        self._admission = admission
        self._registry = registry
        self._history = history
        self._output = output
        self._timers = Timers()
        self._release: dict[State, Callable[[Rejoin], None]] = {
            State.WAITING: self._release_waiting,
            State.QUEUED: self._release_waiting,
            State.PARKED: self._release_parked,
            State.RUNNING: self._release_running,
            State.AWAITING_RECOVERY: self._release_recovering,
            State.ASKING: self._release_asking,
        }

    # Time.

    def next_deadline(self) -> float | None:
        """When a timer or the limiter has something due; None while nothing waits."""
        return earliest(self._timers.next_at(), self._admission.next_at())

    def pop_due(self, now: float) -> Rejoin | None:
        """A rejoin whose deadline has come, the earliest first."""
        return self._timers.pop(now)

    def settle(self) -> None:
        """All that was due is done: compute when the next is."""
        deadline = self.next_deadline()
        self.wake_at = math.inf if deadline is None else deadline

    def set_deadline(self, rejoin: Rejoin, at: float) -> None:
        """Give a rejoin its deadline, in place of any it had."""
        self._timers.set(rejoin, at)
        self.wake_at = min(self.wake_at, at)

    # Moves.

    def wait(self, rejoin: Rejoin, move: Move, rule: Rule, until: float) -> None:
        """Wait for an instant; from now on it shares all triggers of its slot."""
        self._leave(rejoin, move)
        self.slot(rejoin).waiting = rejoin
        self.waiting += 1
        rejoin.rule = rule
        self.set_deadline(rejoin, until)

    def queue(self, rejoin: Rejoin, now: float) -> None:
        """Wait in the fair queue for the global limiter."""
        self._leave(rejoin, Move.LIMIT)
        self.slot(rejoin).waiting = rejoin
        self.waiting += 1
        rejoin.rule = Rule.GLOBAL_LIMIT
        rejoin.expected_at = self._admission.estimate(now)
        rejoin.urgency = min(cause.urgency for cause in rejoin.all_causes())
        self._admission.push(rejoin)
        self.wake_at = min(self.wake_at, self._admission.next_at() or now)

    def park(self, rejoin: Rejoin, move: Move, until: float, rule: Rule = Rule.NOT_ATTACHED) -> None:
        """Wait for an agent until this instant. One without a store is held by its node or host: see the intake."""
        self._leave(rejoin, move)
        if rejoin.store_id:
            self.slot(rejoin).waiting = rejoin
        self._count_parked(rejoin, 1)
        rejoin.rule = rule
        self.set_deadline(rejoin, until)

    def start(self, rejoin: Rejoin) -> None:
        """An attempt begins."""
        self._leave(rejoin, Move.START)
        self.slot(rejoin).running = rejoin
        self.running += 1

    def hold(self, rejoin: Rejoin, until: float) -> None:
        """Wait for the end of what is suspected, at most until this instant."""
        self._leave(rejoin, Move.HOLD)
        self.slot(rejoin).awaiting_recovery = rejoin
        self.set_deadline(rejoin, until)

    def ask(self, rejoin: Rejoin, until: float, detail: str) -> None:
        """Wait for what another node does, at most until this instant."""
        self._leave(rejoin, Move.ASK)
        self.slot(rejoin).asking = rejoin
        rejoin.rung, rejoin.detail = Rung.ASK_PEER, detail
        self.set_deadline(rejoin, until)
        self._output.emit(rejoin.announce())

    def end(self, rejoin: Rejoin, move: Move, detail: str, now: float) -> None:
        """It is over, and operators hear of it."""
        self._leave(rejoin, move)
        rejoin.detail, rejoin.ended_at = detail, now
        self._history.end(rejoin, now)
        self._output.emit(rejoin.announce())

    def skip(self, rejoin: Rejoin, now: float) -> None:
        """Nothing runs for it: it is the record of a trigger, which the answer tells of."""
        self._leave(rejoin, Move.DROP)
        rejoin.ended_at = now
        self._history.end(rejoin, now)

    def slot(self, rejoin: Rejoin) -> Slot:
        """The slot that the rejoin is about; raises KeyError for one without a store."""
        return self._registry.nodes[rejoin.node_id].slots[rejoin.store_id]

    def _leave(self, rejoin: Rejoin, move: Move) -> None:
        """Take a rejoin out of its state, whatever that is; raises KeyError where the table does not allow the move."""
        state = rejoin.state
        rejoin.state = reached = TRANSITIONS[state][move]
        rejoin.outcome = OUTCOMES[reached]
        if state:  # nothing holds one that is new
            rejoin.deadline = None
            self._release[state](rejoin)

    def _release_waiting(self, rejoin: Rejoin) -> None:
        self.slot(rejoin).waiting = None
        self.waiting -= 1
        self._admission.remove(rejoin)

    def _release_parked(self, rejoin: Rejoin) -> None:
        self._unbind(rejoin)
        self._count_parked(rejoin, -1)

    def _release_running(self, rejoin: Rejoin) -> None:
        self.slot(rejoin).running = None
        self.running -= 1

    def _release_recovering(self, rejoin: Rejoin) -> None:
        self.slot(rejoin).awaiting_recovery = None

    def _release_asking(self, rejoin: Rejoin) -> None:
        self.slot(rejoin).asking = None

    def _unbind(self, rejoin: Rejoin) -> None:
        """Take a parked rejoin from the slot, node or host that holds it."""
        if rejoin.store_id:
            self.slot(rejoin).waiting = None
        elif rejoin.node_id:
            self._registry.nodes[rejoin.node_id].parked = None
        else:
            host = self._registry.hosts[rejoin.host_id]
            host.parked = None
            self._registry.forget_host(host)

    def _count_parked(self, rejoin: Rejoin, change: int) -> None:
        self.parked += change
        self._registry.count_parked(rejoin.node_id, change)

    # Snapshots.

    def capture(self, capture: Capture) -> dict[str, Plain]:
        """Counters and deadlines; the rejoins and who holds them are captured with the history and the registry."""
        timers = self._timers.capture(lambda entry: has_timer(capture, entry[2], entry[1]))
        return {"counts": [self.waiting, self.parked, self.running], "timers": timers}

    def load(self, plain: Plain) -> None:
        """Take over what was saved; registry, history and admission are there already."""
        self.waiting, self.parked, self.running = plain["counts"]
        self._timers.load(plain["timers"], self._history.get)
        for rejoin in self._history.newest():
            rejoin.state = self._state_of(rejoin)
        self.settle()

    def _state_of(self, rejoin: Rejoin) -> State:
        """The state of a rejoin that was saved: it follows from what is saved of it and of its slot."""
        if rejoin.outcome is Outcome.WAITING and rejoin.queued:
            return State.QUEUED
        if rejoin.outcome is Outcome.RUNNING and self.slot(rejoin).running is not rejoin:
            return State.ASKING if self.slot(rejoin).asking is rejoin else State.AWAITING_RECOVERY
        return State[rejoin.outcome.name]


def diagram() -> Iterator[str]:
    """The lines of the table as a Mermaid state diagram."""
    yield "stateDiagram-v2"
    for state, moves in TRANSITIONS.items():
        for move, target in moves.items():
            yield f"    {'[*]' if state is State.NEW else state.name} --> {target.name}: {move.text}"
    ends = dict.fromkeys(target for moves in TRANSITIONS.values() for target in moves.values())
    for state in ends:
        if state not in TRANSITIONS:
            yield f"    {state.name} --> [*]"
