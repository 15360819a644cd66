"""From protobuf messages to the events and queries of deciding; raises InvalidRequest for wrong fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossipcontrol.server.core.decision import Capability, Cause, NamedBy, Outcome
from gossipcontrol.server.core.event import (
    CancelRequested,
    ChangeKind,
    ForgetRequested,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    RejoinRequested,
    RestartFinished,
)
from gossipcontrol.server.errors import InvalidRequest
from gossipcontrol.server.wire.limits import (
    ADDRESS_BYTES,
    ADDRESSES,
    AGENT_BYTES,
    CAPABILITIES,
    DETAIL_BYTES,
    ERROR_BYTES,
    ID_BYTES,
    NAME_BYTES,
    NODES,
    SHORT_ID_BYTES,
    STORES,
    Violations,
    check_age,
    check_enum,
    check_page_size,
    check_request_id,
    check_text,
    check_texts,
    refuse,
)
from gossipcontrol.server.wire.unrecognized import Note, ignore, unknown_field
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2


def rejoin_requested(request: gossip_control_pb2.RejoinRequest) -> RejoinRequested:
    """The event of a Rejoin call; raises InvalidRequest."""
    violations: Violations = []
    check_request_id(request.request_id, violations)
    check_text(request.node_id, "node_id", ID_BYTES, violations, required=True)
    store_ids = check_texts(request.store_ids, "store_ids", STORES, ID_BYTES, violations)
    cause = check_enum(request.cause or Cause.MANUAL, Cause, "cause", violations)
    if cause is not None and cause.named_by is NamedBy.REPORT:
        violations.append(("cause", "must be reported with ReportNetworkChange"))
    elif cause is not None and cause.named_by is NamedBy.SERVICE:
        violations.append(("cause", "is found by the service only, because only the service sees when it ends"))
    refuse(violations)
    return RejoinRequested(
        request.node_id, store_ids, cause or Cause.MANUAL, request.request_id, park=request.park_unknown
    )


def forget_requested(request: gossip_control_pb2.ForgetRequest) -> ForgetRequested:
    """The event of a Forget call; raises InvalidRequest."""
    violations: Violations = []
    check_text(request.node_id, "node_id", ID_BYTES, violations)
    check_text(request.store_id, "store_id", ID_BYTES, violations)
    if not request.node_id and not request.store_id:
        violations.append(("node_id", "must be given unless store_id is given"))
    refuse(violations)
    return ForgetRequested(request.node_id, request.store_id)


def cancel_requested(request: gossip_control_pb2.CancelRejoinRequest) -> CancelRequested:
    """The event of a CancelRejoin call; raises InvalidRequest."""
    violations: Violations = []
    check_text(request.rejoin_id, "rejoin_id", SHORT_ID_BYTES, violations, required=True)
    refuse(violations)
    return CancelRequested(request.rejoin_id)


def network_changed(request: gossip_control_pb2.ReportNetworkChangeRequest, note: Note = ignore) -> NetworkChanged:
    """The event of a ReportNetworkChange call; an unknown platform is noted. Raises InvalidRequest."""
    violations: Violations = []
    host_id, boot_id, request_id, generation = request.host_id, request.boot_id, request.request_id, request.generation
    check_request_id(request_id, violations)
    check_text(host_id, "host_id", ID_BYTES, violations)
    node_ids = check_texts(request.node_ids, "node_ids", NODES, ID_BYTES, violations) if request.node_ids else ()
    if not host_id and not request.node_ids:
        violations.append(("host_id", "must be given unless node_ids are given"))
    if host_id and request.node_ids:
        violations.append(("node_ids", "must be empty when host_id is given"))
    kind = check_enum(request.kind, ChangeKind, "kind", violations)
    check_text(boot_id, "boot_id", SHORT_ID_BYTES, violations, required=generation > 0)
    check_age(request.age_ms, "age_ms", violations)
    check_age(request.slept_ms, "slept_ms", violations)
    check_text(request.detail, "detail", DETAIL_BYTES, violations)
    refuse(violations)
    if request.platform not in _KNOWN_PLATFORMS:
        note("platform", request.platform)
    return NetworkChanged(
        host_id,
        node_ids,
        kind or ChangeKind.CHANGED,
        boot_id,
        generation,
        request_id,
        request.park_unknown,
        request.slept_ms / 1000,
    )


_KNOWN_PLATFORMS = frozenset(gossip_control_pb2.Platform.values())
_CAPABILITIES: frozenset[int] = frozenset(Capability)


def node_attached(register: attach_pb2.Register, session_id: str, note: Note = ignore) -> NodeAttached:
    """The event of a Register frame; unknown capabilities are noted. Raises InvalidRequest."""
    violations: Violations = []
    check_text(register.node_id, "register.node_id", ID_BYTES, violations, required=True)
    store_ids = check_texts(register.store_ids, "register.store_ids", STORES, ID_BYTES, violations)
    check_text(register.host_id, "register.host_id", ID_BYTES, violations)
    numbers: list[int] = list(register.capabilities[:CAPABILITIES])
    if 0 in numbers:
        violations.append((f"register.capabilities[{numbers.index(0)}]", "must be given"))
    if len(set(register.capabilities)) != len(register.capabilities):
        violations.append(("register.capabilities", "must name each entry once"))
    addresses = check_texts(register.addresses, "register.addresses", ADDRESSES, ADDRESS_BYTES, violations)
    check_text(register.incarnation, "register.incarnation", SHORT_ID_BYTES, violations)
    check_text(register.agent, "register.agent", AGENT_BYTES, violations)
    check_text(register.name, "register.name", NAME_BYTES, violations)
    refuse(violations)
    for number in set(numbers) - _CAPABILITIES:
        note("capability", number)
    return NodeAttached(
        node_id=register.node_id,
        session_id=session_id,
        store_ids=store_ids,
        host_id=register.host_id,
        capabilities=frozenset(map(Capability, _CAPABILITIES.intersection(numbers))),
        addresses=addresses,
        incarnation=register.incarnation,
        agent=register.agent,
        name=register.name,
    )


def neighbor_changed(event: attach_pb2.NeighborEvent, node_id: str, now: float) -> NeighborChanged:
    """The event of a NeighborEvent frame; raises InvalidRequest."""
    violations: Violations = []
    check_text(event.store_id, "neighbor.store_id", ID_BYTES, violations, required=True)
    check_text(event.peer_id, "neighbor.peer_id", ID_BYTES, violations, required=True)
    check_age(event.age_ms, "neighbor.age_ms", violations)
    refuse(violations)
    return NeighborChanged(node_id, event.store_id, event.peer_id, event.up, now - event.age_ms / 1000)


def check_rejoin_result(result: attach_pb2.RejoinResult) -> None:
    """Raise InvalidRequest when a RejoinResult frame is wrong."""
    violations: Violations = []
    check_text(result.rejoin_id, "rejoin_result.rejoin_id", SHORT_ID_BYTES, violations, required=True)
    if result.attempt == 0:
        violations.append(("rejoin_result.attempt", "must be 1 or more"))
    check_text(result.error, "rejoin_result.error", ERROR_BYTES, violations)
    if result.ok and result.error:
        violations.append(("rejoin_result.error", "must be empty when ok"))
    refuse(violations)


def restart_finished(result: attach_pb2.RestartResult, node_id: str) -> RestartFinished:
    """The event of a RestartResult frame; raises InvalidRequest."""
    violations: Violations = []
    check_text(result.rejoin_id, "restart_result.rejoin_id", SHORT_ID_BYTES, violations, required=True)
    check_age(result.duration_ms, "restart_result.duration_ms", violations)
    check_text(result.error, "restart_result.error", ERROR_BYTES, violations)
    refuse(violations)
    exit_code = result.exit_code if result.HasField("exit_code") else None
    return RestartFinished(node_id, result.rejoin_id, exit_code, result.duration_ms / 1000, result.error)


def check_goodbye(goodbye: attach_pb2.Goodbye) -> None:
    """Raise InvalidRequest when a Goodbye frame is wrong."""
    violations: Violations = []
    check_text(goodbye.reason, "goodbye.reason", DETAIL_BYTES, violations)
    refuse(violations)


@dataclass(frozen=True, slots=True)
class RejoinQuery:
    """Which rejoins to list."""

    node_id: str
    store_id: str
    cause: Cause | None
    outcome: Outcome | None
    since: float | None
    before: str
    page_size: int


def rejoin_query(request: gossip_control_pb2.ListRejoinsRequest, now: float) -> RejoinQuery:
    """What a ListRejoins call asks for; raises InvalidRequest."""
    violations: Violations = []
    check_text(request.node_id, "node_id", ID_BYTES, violations)
    check_text(request.store_id, "store_id", ID_BYTES, violations)
    cause = check_enum(request.cause, Cause, "cause", violations) if request.cause else None
    outcome = check_enum(request.outcome, Outcome, "outcome", violations) if request.outcome else None
    page_size = check_page_size(request.page_size, violations)
    number = request.page_token.rpartition("-")[2]
    if request.page_token and not (number.isascii() and number.isdigit()):
        violations.append(("page_token", "is not the token of an earlier page"))
    check_text(request.page_token, "page_token", SHORT_ID_BYTES, violations)
    refuse(violations)
    since = now - request.max_age_ms / 1000 if request.max_age_ms else None
    return RejoinQuery(request.node_id, request.store_id, cause, outcome, since, request.page_token, page_size)


@dataclass(frozen=True, slots=True)
class PastQuery:
    """Which past triggers to explain; one of the fields is given."""

    request_id: str
    rejoin_id: str


def explain_query(request: gossip_control_pb2.ExplainRequest) -> RejoinRequested | NetworkChanged | PastQuery:
    """What an Explain call asks for; raises InvalidRequest, naming fields below that of the trigger.

    A node that nobody knows is explained as if the trigger waited for it.
    """
    given = request.WhichOneof("trigger")
    try:
        match given:
            case "rejoin":
                return replace(rejoin_requested(request.rejoin), park=True)
            case "network_change":
                return replace(network_changed(request.network_change), park=True)
            case "past":
                return _past_query(request.past)
            case None:
                number = unknown_field(request)
                what = f"field {number} is no trigger that this version knows" if number else "must be given"
                raise InvalidRequest([("trigger", what)])
    except InvalidRequest as error:
        if given is None:
            raise
        raise InvalidRequest([(f"{given}.{name}", what) for name, what in error.violations]) from error


def _past_query(past: gossip_control_pb2.PastTrigger) -> PastQuery:
    violations: Violations = []
    check_request_id(past.request_id, violations)
    check_text(past.rejoin_id, "rejoin_id", SHORT_ID_BYTES, violations)
    if bool(past.request_id) == bool(past.rejoin_id):
        violations.append(("request_id", "must be given unless rejoin_id is given; give only one"))
    refuse(violations)
    return PastQuery(past.request_id, past.rejoin_id)


@dataclass(frozen=True, slots=True)
class StoreQuery:
    """Which stores to list."""

    node_id: str
    after: str
    page_size: int


def store_query(request: gossip_control_pb2.ListStoresRequest) -> StoreQuery:
    """What a ListStores call asks for; raises InvalidRequest."""
    violations: Violations = []
    check_text(request.node_id, "node_id", ID_BYTES, violations)
    page_size = check_page_size(request.page_size, violations)
    check_text(request.page_token, "page_token", ID_BYTES, violations)
    refuse(violations)
    return StoreQuery(request.node_id, request.page_token, page_size)
