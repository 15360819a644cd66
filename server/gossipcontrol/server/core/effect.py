"""What the core wants done or known: the only way out."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.decision import Cause, Decision, Outcome, Rung


@dataclass(frozen=True, slots=True)
class BootstrapPeer:
    """A peer that may be dialled, and the addresses its agent registered."""

    peer_id: str
    addresses: tuple[str, ...] = ()


@dataclass(slots=True)
class AnswerTrigger:
    """Answer the trigger that was handled. It is not frozen, for one is made per trigger, and freezing is slow."""

    cause: Cause | None
    """None for an announced sleep, which is no trigger."""
    decisions: tuple[Decision, ...]
    replayed: bool = False
    """Whether this is the recorded answer to an earlier request."""
    total: int = 0
    """Number of all decisions, if more follow in slices; 0: these are all."""
    is_rest: bool = False
    """Whether these are further decisions of a trigger that was answered before."""


@dataclass(frozen=True, slots=True)
class RefuseTrigger:
    """Refuse the trigger that was handled, nothing having changed: there is no room."""

    retry_in: float
    """Seconds after which there may be room."""
    reason: str = "the queue of rejoins is full"


@dataclass(frozen=True, slots=True)
class RefuseReuse:
    """Refuse the trigger that was handled, nothing having changed: its request id belongs to another request."""

    request_id: str


@dataclass(frozen=True, slots=True)
class RefuseUnknown:
    """Refuse what was handled, nothing having changed: nobody knows what it names."""

    what: str
    """``node n``, ``store s``, ``rejoin r-1``."""


@dataclass(frozen=True, slots=True)
class RefuseState:
    """Refuse what was handled, nothing having changed: what it names is not in a state that allows it."""

    reason: str


@dataclass(frozen=True, slots=True)
class ForgetSlots:
    """What was to be forgotten is: so many nodes, and so many stores of nodes."""

    node_count: int
    slot_count: int
    why: str


@dataclass(frozen=True, slots=True)
class RefuseNode:
    """Refuse the registration or report that was handled, nothing having changed."""

    reason: str
    retry_in: float = 60.0
    """Seconds after which there may be room."""


@dataclass(frozen=True, slots=True)
class AcceptNode:
    """The registration that was handled stands."""

    node_id: str
    session_id: str
    unparked: int
    """Number of rejoins that were parked for it."""
    is_new: bool = True
    """False for a further registration of the same stream."""


@dataclass(frozen=True, slots=True)
class StartRejoin:
    """Have the node's agent carry out one attempt, and report RejoinFinished within ``timeout`` seconds."""

    rejoin_id: str
    node_id: str
    store_id: str
    session_id: str
    attempt: int
    rung: Rung
    causes: tuple[Cause, ...]
    bootstrap: tuple[BootstrapPeer, ...]
    timeout: float
    delay: float | None
    """Seconds from the arrival of the oldest trigger that this start covers; None when it is a retry for none."""
    again: bool = False
    """Whether it is sent again after the owner changed: an agent that had it answers with the result that it has."""


@dataclass(frozen=True, slots=True)
class AnnounceRejoin:
    """Tell operators what became of a rejoin: it ended, or its attempt failed and another follows (outcome WAITING)."""

    rejoin_id: str
    node_id: str
    store_id: str
    cause: Cause
    """Of its first trigger."""
    outcome: Outcome
    rung: Rung
    attempts: int
    duration: float | None
    """Seconds from its first start to its verification; None unless verified."""
    detail: str


@dataclass(frozen=True, slots=True)
class AskPeer:
    """A node is asked to rejoin towards another one, whose rejoin stays unproved: what was decided about it."""

    decision: Decision
    """About the node that is asked."""
    asker_id: str
    """The node whose rejoin stays unproved."""
    rejoin_id: str
    """That rejoin."""


@dataclass(frozen=True, slots=True)
class AdviseRestart:
    """The last rung: nothing that the agent can do helped. Once per episode; the service never kills anything."""

    rejoin_id: str
    """The rejoin that found no rung above it."""
    node_id: str
    store_id: str
    detail: str
    session_id: str = ""
    """The stream on which its agent is told, for it may have a command of the operator; empty: none is told now."""


@dataclass(frozen=True, slots=True)
class AnnounceRestart:
    """Tell operators what became of the command that a node's agent ran because a restart was advised."""

    rejoin_id: str
    node_id: str
    store_id: str
    exit_code: int | None
    duration: float
    error: str


Refusal = RefuseTrigger | RefuseReuse | RefuseUnknown | RefuseState | RefuseNode
Effect = (
    AnswerTrigger
    | Refusal
    | AcceptNode
    | StartRejoin
    | AnnounceRejoin
    | AskPeer
    | AdviseRestart
    | AnnounceRestart
    | ForgetSlots
)
