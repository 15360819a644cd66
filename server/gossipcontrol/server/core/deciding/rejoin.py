"""One rejoin from its first trigger to its end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from gossipcontrol.server.core.codec import formerly
from gossipcontrol.server.core.deciding.record import UNSEEN, RejoinRecord, Restart, Seen, TriggerRecord
from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Outcome, Rule, Rung
from gossipcontrol.server.core.effect import AnnounceRejoin, BootstrapPeer

ASKED_BY = 128
"""Most characters kept of who asked."""
EVIDENCE = 300
"""Most characters of evidence kept with a trigger."""
BRIDGE = 8
"""Most peers of the other side of a partition kept with a trigger."""
LAST_TRIGGERS = 15
"""How many triggers are kept besides the first."""

ENDED = frozenset({
    Outcome.VERIFIED, Outcome.UNVERIFIED, Outcome.FAILED, Outcome.EXPIRED, Outcome.SKIPPED, Outcome.SPLIT,
})  # fmt: skip
UNSAVED = ("state",)
"""Fields that follow from others."""


class State(IntEnum):
    """Where a rejoin stands; which moves lead from one to another stands in ``lifecycle``."""

    NEW = 0
    """Just made, while the trigger that it is for is decided."""
    WAITING = 1
    """In its window, or backing off."""
    QUEUED = 2
    """In the fair queue of the global limiter."""
    PARKED = 3
    RUNNING = 4
    AWAITING_RECOVERY = 5
    """Carried out because of rot, and nobody knows yet whether it helped."""
    VERIFIED = 6
    UNVERIFIED = 7
    FAILED = 8
    EXPIRED = 9
    SKIPPED = 10
    SPLIT = 11
    ASKING = 12
    """Carried out in vain as far as the agent can, and another node was asked to rejoin towards this one."""


class Trigger(NamedTuple):
    """A reason to rejoin: a named tuple, for one is made per trigger."""

    cause: Cause
    arrived_at: float
    request_id: str = ""
    evidence: str = ""
    """What a suspicion rests on, or how long the host slept; at most ``EVIDENCE`` characters."""
    bridge: tuple[str, ...] = ()
    """Peers of the other side of a partition; at most ``BRIDGE``."""
    rejoin_only: bool = False
    """Whether no stronger rung may follow."""
    first_rung: Rung = Rung.REJOIN
    """The rung to begin with."""
    asked_by: str = ""
    """Who asked; at most ``ASKED_BY`` characters, empty where the service itself did."""


DecidedTrigger = tuple[Trigger, DecisionKind, Rule, Seen]


@dataclass(slots=True, eq=False)
class Rejoin:
    """A run of the rejoin action on one (node, store), shared by all triggers that it covers.

    It has at most one deadline: the end of its window while it waits, its expiry while it is parked, the end of its
    proof time while it runs; none while it queues for the global limiter or has ended.
    """

    number: int
    rejoin_id: str
    node_id: str
    store_id: str
    cause: Cause
    """Of the first trigger."""
    requested_at: float
    uncovered_at: float | None
    """Arrival of the oldest trigger that no start has covered."""
    state: State = State.NEW
    outcome: Outcome = Outcome.WAITING
    """What clients see of the state."""
    rule: Rule = Rule.LEADING_EDGE
    """Why it waits."""
    deadline: float | None = None
    timer: int = 0
    """Number of the entry among the timers that holds its deadline."""
    queued: bool = False
    """Whether it is in the fair queue."""
    place: int = 0
    """Number of its entry in the fair queue."""
    expected_at: float = 0.0
    """When it was thought to start as it entered the queue."""
    urgency: int = 0
    attempts: int = 0
    rung: Rung = Rung.REJOIN
    climbs: int = 0
    """How often it climbed the ladder."""
    climbs_since: float | None = None
    """Start of the first attempt of the rejoin that it climbs on for; None while it climbs for none but itself."""
    acknowledged: bool = False
    """Whether the agent said that it carried out the running attempt."""
    sent_again: bool = False
    """Whether the last attempt was sent again, because the owner changed while it ran."""
    first_started_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    verified_after: float | None = None
    detail: str = ""
    bootstrap: tuple[BootstrapPeer, ...] = ()
    bridge: tuple[str, ...] = ()
    """Of the newest trigger that named any."""
    rejoin_only: bool = field(default=False, metadata=formerly("blind"))
    """Whether no trigger of it allows a stronger rung."""
    first_rung: Rung = Rung.REJOIN
    """The highest that a trigger of it wants to begin with."""
    host_id: str = ""
    """Only while it is parked for a host of which no node is known."""
    causes: set[Cause] | None = None
    """Further causes than the first; None while there are none."""
    first_trigger: DecidedTrigger | None = None
    last_triggers: deque[DecidedTrigger] | None = None
    trigger_count: int = 0
    decision: Decision | None = None
    """The last decision of a trigger that shares it: the same for all, as long as it starts at the same time."""

    restart: Restart | None = None
    """What became of the restart that was advised because of it."""

    @property
    def kept_triggers(self) -> int:
        """Number of triggers that are kept."""
        return (self.first_trigger is not None) + (len(self.last_triggers) if self.last_triggers else 0)

    def add_trigger(self, trigger: Trigger, kind: DecisionKind, rule: Rule, seen: Seen = UNSEEN) -> str | None:
        """Remember a trigger, and what was decided about it.

        Returns the request id of the one that makes room for it, None if none does.
        """
        self.trigger_count = count = self.trigger_count + 1
        last, decided = self.last_triggers, (trigger, kind, rule, seen)
        if last is None:
            if count == 1:
                self.first_trigger = decided
                return None
            last = self.last_triggers = deque(maxlen=LAST_TRIGGERS)
        outdated = last[0][0].request_id if count > LAST_TRIGGERS + 1 else None
        last.append(decided)
        if trigger.cause is not self.cause:
            self.causes = (self.causes or set()) | {trigger.cause}
        return outdated

    def request_ids(self) -> set[str]:
        """The request ids of the triggers that are kept."""
        kept = (self.first_trigger, *(self.last_triggers or ()))
        return {decided[0].request_id for decided in kept if decided is not None and decided[0].request_id}

    def has_request(self, request_id: str) -> bool:
        """Whether a trigger that is kept came with this request id."""
        return request_id in self.request_ids()

    def latest_at(self) -> float:
        """Arrival of its newest trigger."""
        if self.last_triggers:
            return self.last_triggers[-1][0].arrived_at
        return self.first_trigger[0].arrived_at if self.first_trigger else self.requested_at

    def all_causes(self) -> tuple[Cause, ...]:
        """Every cause once, most urgent first."""
        return tuple(sorted({self.cause, *(self.causes or ())}, key=lambda cause: (cause.urgency, cause)))

    def is_proved_by_recovery(self) -> bool:
        """Whether it runs for rot alone, so that a sign of life proves nothing."""
        return self.cause.is_proved_by_recovery and all(cause.is_proved_by_recovery for cause in self.causes or ())

    @property
    def in_vain_since(self) -> float | None:
        """Start of the first of the attempts in a row of which none was proved; None before it."""
        return self.first_started_at if self.climbs_since is None else self.climbs_since

    @property
    def is_asked(self) -> bool:
        """Whether it runs for another node alone."""
        return self.cause is Cause.ASKED and not self.causes

    def take_over(self, other: Rejoin) -> None:
        """Follow on another one of the same node: one that runs for another node alone goes on for this one as well."""
        if self.is_asked and not other.is_asked:
            self.causes = set(other.all_causes())
            self.rejoin_only = other.rejoin_only

    def announce(self) -> AnnounceRejoin:
        """What the service tells of where it stands now."""
        return AnnounceRejoin(
            rejoin_id=self.rejoin_id,
            node_id=self.node_id,
            store_id=self.store_id,
            cause=self.cause,
            outcome=self.outcome,
            rung=self.rung,
            attempts=self.attempts,
            duration=self.verified_after,
            detail=self.detail,
        )

    def record(self) -> RejoinRecord:
        """A frozen copy to show."""
        kept = [self.first_trigger] if self.first_trigger else []
        kept.extend(self.last_triggers or ())
        return RejoinRecord(
            rejoin_id=self.rejoin_id,
            node_id=self.node_id,
            store_id=self.store_id,
            outcome=self.outcome,
            requested_at=self.requested_at,
            due_at=self.deadline if self.deadline is not None else self.requested_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            verified_after=self.verified_after,
            attempts=self.attempts,
            rung=self.rung,
            detail=self.detail,
            triggers=tuple(
                TriggerRecord(t.cause, kind, rule, t.arrived_at, t.request_id, seen, t.evidence, t.asked_by)
                for t, kind, rule, seen in kept
            ),
            trigger_count=self.trigger_count,
            bootstrap=tuple(peer.peer_id for peer in self.bootstrap),
            restart=self.restart,
        )
