"""What the service decides about triggers, and what becomes of the rejoins. Ages and times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.client.enumeration import Cause, ChangeKind, DecisionKind, Outcome, Platform, Rule, Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class RejoinTrigger:
    """A request to rejoin these stores of a node, or all that it has."""

    node_id: str
    store_ids: tuple[str, ...] = ()
    cause: Cause = Cause.MANUAL
    request_id: str = ""
    """A UUID that makes the call idempotent for 10 minutes; empty: the client chooses one."""
    park: bool = False
    """Whether it waits for a node that the service does not know; otherwise that is NotFoundError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChange:
    """A change of a host, or of the nodes that are named instead of a host."""

    kind: ChangeKind
    host_id: str = ""
    node_ids: tuple[str, ...] = ()
    boot_id: str = ""
    generation: int = 0
    """The host's counter of network states within one boot; 0: not counted, and so not deduplicated."""
    platform: Platform | None = None
    age: float = 0.0
    """Seconds since it happened; at most 30 days."""
    detail: str = ""
    request_id: str = ""
    """A UUID that makes the call idempotent for 10 minutes; empty: the client chooses one."""
    park: bool = True
    """Whether it waits for nodes that the service does not know; otherwise that is NotFoundError."""
    slept: float = 0.0
    """Of RESUMED: seconds that the host slept, at most 30 days; 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetResult:
    """How many nodes were forgotten, and how many stores of nodes."""

    nodes: int
    stores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrigger:
    """Triggers that were decided already: those of a call, or those of a rejoin. Give one of the two."""

    request_id: str = ""
    rejoin_id: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a trigger for one (node, store)."""

    node_id: str
    store_id: str
    kind: DecisionKind
    rejoin_id: str
    """The rejoin that runs, waits or ran for the trigger; empty when it was skipped."""
    start_in: float
    """Seconds until the rejoin starts; when it is parked, until it expires."""
    message: str
    """The same in a sentence."""
    rule: Rule
    node_name: str = ""
    """What people call the node, as its agent said; empty when it has no name."""


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """The answer to a trigger."""

    decisions: tuple[Decision, ...]
    """One per node and store; at most 1000 are listed."""
    replayed: bool
    """Whether this is the recorded answer to an earlier call with the same request id."""
    decision_count: int
    """Number of decisions, listed or not."""


@dataclass(frozen=True, slots=True)
class SeenState:
    """What the service saw of a (node, store) as it decided; ages are seconds before the decision."""

    attached: bool
    started_age: float | None
    """Since the last start of a rejoin; None when there was none."""
    neighbor_age: float | None
    """Since the newest sign of life of a present neighbour; None when there was none."""
    waiting_rejoin_id: str
    waiting_count: int
    """Rejoins that waited in the whole service."""


@dataclass(frozen=True, slots=True)
class TriggerRecord:
    """One trigger of a rejoin."""

    cause: Cause
    kind: DecisionKind
    age: float
    """Seconds since it arrived."""
    request_id: str
    reason: str
    """The rule that decided and what it saw, in a sentence."""
    rule: Rule
    seen: SeenState | None
    evidence: str
    """What a suspicion of the service rests on; empty for other causes."""


@dataclass(frozen=True, slots=True)
class RestartRecord:
    """What became of the command with which an operator lets an agent restart its node."""

    age: float
    """Seconds since the agent reported it."""
    exit_code: int | None
    """None: a signal ended it, or it could not be started."""
    duration: float
    """Seconds that it took."""
    error: str
    """Empty when it ended with 0."""


@dataclass(frozen=True, slots=True)
class RejoinRecord:
    """One rejoin of one (node, store), with the triggers that share it."""

    rejoin_id: str
    node_id: str
    store_id: str
    outcome: Outcome
    requested_age: float
    """Seconds since its first trigger arrived."""
    started_age: float | None
    """Seconds since its last attempt started; None when none has."""
    ended_age: float | None
    """Seconds since it ended; None while it waits or runs."""
    verified_after: float | None
    """Seconds from its first start until it was verified; None unless it was."""
    attempts: int
    detail: str
    """What happened, in a sentence."""
    triggers: tuple[TriggerRecord, ...]
    """Oldest first; at most 16."""
    trigger_count: int
    """Number of its triggers, listed or not."""
    rung: Rung | None
    """Of its last attempt; None before the first."""
    bootstrap_peers: tuple[str, ...]
    """Named to the agent for the last attempt."""
    node_name: str = ""
    """What people call the node, as its agent said; empty when it has no name."""
    restart: RestartRecord | None = None
    """What became of the restart that was advised after it; None unless the agent ran a command for that."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision, made or predicted, with its reasons."""

    decision: Decision
    cause: Cause
    age: float
    """Seconds since the trigger arrived; 0 when it is predicted."""
    seen: SeenState | None
    message: str
    evidence: str


@dataclass(frozen=True, slots=True)
class ExplainResult:
    """What would happen to a trigger now, or what happened to past ones."""

    decisions: tuple[Decision, ...]
    """What would be decided now; none for past triggers."""
    explanations: tuple[Explanation, ...]
    rejoins: tuple[RejoinRecord, ...]
    """Those that past triggers share."""
    decision_count: int
    replayed: bool
    """Whether the recorded answer to an earlier call with the same request id would be given."""
    refused_retry: float | None
    """Seconds after which a trigger that would be refused may find room; None: it would not be refused."""
