"""Which field of which call belongs to whom: one table, which a test compares with the contract.

A field is owned (the identity must have a role whose scope has the field's value), or it is free, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default as default_pool
from google.protobuf.message import Message
from gossipcontrol.server.access.identity import Identity, Role, Scope


class Right(NamedTuple):
    """The roles of which one is needed, and the scope that must have the value."""

    roles: tuple[Role, ...]
    scope: Scope


NODE = Right((Role.AGENT, Role.ADMIN), Scope.NODES)
"""To speak for a node."""
HOST = Right((Role.WATCHER, Role.ADMIN), Scope.HOSTS)
"""To speak for a host."""
PLACE = Right((Role.AGENT, Role.WATCHER, Role.ADMIN), Scope.HOSTS)
"""To put a node on a host: its watcher's reports then concern the node."""
STORE = Right((Role.AGENT, Role.ADMIN), Scope.STORES)
"""To report about a store."""
READ = Right((Role.READER, Role.AGENT, Role.ADMIN), Scope.STORES)
"""To read a store."""
ASK_NODE = Right(tuple(Role), Scope.NODES)
ASK_HOST = Right(tuple(Role), Scope.HOSTS)
"""To ask what would happen to a node or host: the answer says whether it is there."""
KEEP_NODE = Right((Role.ADMIN,), Scope.NODES)
KEEP_STORE = Right((Role.ADMIN,), Scope.STORES)
"""To clear up what others made."""


class Call(NamedTuple):
    """What a call needs. Paths name fields of the request; ``.*`` ends a path that stands for all below it."""

    roles: tuple[Role, ...]
    """One of these is needed to make the call at all."""
    owned: Mapping[str, Right]
    free: Mapping[str, str]
    """Paths without an owner, and why they need none."""
    whole: tuple[Scope, ...] = ()
    """Scopes that must be without bounds, because the call names nothing that could be compared with them."""


_EVERY_ROLE = tuple(Role)
_READERS = READ.roles
_PAGE = {"page_size": "how much is read", "page_token": "names a row; rows of others are left out"}
_FORECAST = "nothing happens"
_FILTERED = "rows of stores that the identity may not read are left out"
_CLAIM = "what the node says of others; one word among those of all observers"

_REPORT_CLAIMS = {
    "peers.*": _CLAIM,
    "heard.*": _CLAIM,
    "neighbors.*": _CLAIM,
    "broadcast_count": "of the node itself",
    "unsynced_writes": "of the node itself",
    "going_to_sleep": "of the node itself",
    "known_version": "what the node has read already",
}
_SYNC_CLAIMS = {
    "peer_id": "the peer of a sync that the node was asked for",
    "ok": "of the node itself",
    "error": "for people",
    "nonce": "the number of that request",
}
_INTENTION = {
    "intentions.*": "a chain proves its own order; who relays it need not be its author",
}
_CHANGE = {
    "request_id": "bound to its payload; another payload under the same id is refused",
    "kind": "of the host itself",
    "boot_id": "of the host itself",
    "generation": "of the host itself, and counted for it alone",
    "platform": "a label",
    "age_ms": "of the event itself",
    "detail": "for people",
    "park_unknown": "bounded by the memory of strangers",
    "slept_ms": "for people",
}


def _below(prefix: str, fields: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{path}": why for path, why in fields.items()}


_CONTROL = "/gossipcontrol.v1.GossipControl/"
_KNOWLEDGE = "/gossipcontrol.v1.PeerKnowledge/"

CALLS: Mapping[str, Call] = {
    f"{_CONTROL}Rejoin": Call(
        NODE.roles,
        {"node_id": NODE, "store_ids": STORE},
        {
            "request_id": _CHANGE["request_id"],
            "cause": "of the node itself",
            "park_unknown": _CHANGE["park_unknown"],
        },
    ),
    f"{_CONTROL}ReportNetworkChange": Call(
        (Role.WATCHER, Role.AGENT, Role.ADMIN), {"host_id": HOST, "node_ids": NODE}, _CHANGE
    ),
    f"{_CONTROL}PeerLiveness": Call(
        NODE.roles,
        {
            "reports.node_id": NODE,
            "reports.store_id": STORE,
            "sync_results.node_id": NODE,
            "sync_results.store_id": STORE,
        },
        {**_below("reports", _REPORT_CLAIMS), **_below("sync_results", _SYNC_CLAIMS)},
    ),
    f"{_CONTROL}Attach": Call(
        NODE.roles,
        {
            "register.node_id": NODE,
            "register.host_id": PLACE,
            "register.store_ids": STORE,
            "liveness.node_id": NODE,
            "liveness.store_id": STORE,
            "neighbor.store_id": STORE,
            "sync_result.node_id": NODE,
            "sync_result.store_id": STORE,
            "intentions.store_id": STORE,
        },
        {
            "register.capabilities": "of the node itself",
            "register.addresses": "of the node itself; bounded in number and in how often each is named to others",
            "register.incarnation": "of the node itself",
            "register.agent": "for people",
            "register.name": "for people, and no more than a second name of the node itself",
            **_below("liveness", _REPORT_CLAIMS),
            "neighbor.peer_id": _CLAIM,
            "neighbor.up": _CLAIM,
            "neighbor.age_ms": _CLAIM,
            "rejoin_result.*": "answers a command that was sent over this stream",
            "restart_result.*": "answers an advice about this stream's node; kept for rejoins of that node only",
            **_below("sync_result", _SYNC_CLAIMS),
            "goodbye.reason": "for people",
            **_below("intentions", _INTENTION),
            "commands_received": "of the stream itself",
            "command_age_ms": "of the stream itself",
        },
    ),
    f"{_CONTROL}WatchPeers": Call(_READERS, {"store_id": READ}, {"resume_token": "names a version of this store"}),
    f"{_CONTROL}ListPeers": Call(_READERS, {"store_id": READ}, {"state": "a filter", **_PAGE}),
    f"{_CONTROL}ListStores": Call(_READERS, {}, {"node_id": _FILTERED, **_PAGE}),
    f"{_CONTROL}ListRejoins": Call(
        _READERS,
        {"store_id": READ},
        {"node_id": _FILTERED, "cause": "a filter", "outcome": "a filter", "max_age_ms": "a filter", **_PAGE},
    ),
    f"{_CONTROL}Explain": Call(
        _EVERY_ROLE,
        {
            "rejoin.node_id": ASK_NODE,
            "network_change.host_id": ASK_HOST,
            "network_change.node_ids": ASK_NODE,
        },
        {
            "rejoin.store_ids": _FILTERED,
            **_below("rejoin", dict.fromkeys(("request_id", "cause", "park_unknown"), _FORECAST)),
            **_below("network_change", dict.fromkeys(_CHANGE, _FORECAST)),
            "past.*": _FILTERED,
        },
    ),
    f"{_CONTROL}Forget": Call((Role.ADMIN,), {"node_id": KEEP_NODE, "store_id": KEEP_STORE}, {}),
    f"{_CONTROL}CancelRejoin": Call(
        (Role.ADMIN,), {}, {"rejoin_id": "names no store, so only who owns everything may"}, whole=(Scope.STORES,)
    ),
    f"{_CONTROL}ListReplicas": Call(_READERS, {}, {}),
    f"{_KNOWLEDGE}RecordIntentions": Call(
        STORE.roles,
        {"batch.store_id": STORE},
        {
            **_below("batch", _INTENTION),
            "sequence": "counted for the sender alone",
            "sender_id": "each identity has senders of its own",
        },
    ),
    f"{_KNOWLEDGE}GetKnowledge": Call(
        _READERS, {"store_id": READ}, {"peer_id": "a filter", "holds_hash": "a filter", **_PAGE}
    ),
    f"{_KNOWLEDGE}GetStabilityFrontier": Call(_READERS, {"store_id": READ}, {}),
    f"{_KNOWLEDGE}GetLag": Call(_READERS, {"store_id": READ}, {"peer_id": "a filter", **_PAGE}),
    f"{_KNOWLEDGE}ChangeMembers": Call(
        (Role.ADMIN,),
        {"store_id": KEEP_STORE},
        {
            "added.*": "of the store",
            "removed_peer_ids": "of the store",
            "undo": "of the store",
            "hold_ms": "of the store",
        },
    ),
}
"""Every call by its path."""


PEERS = frozenset({"peer_id", "peer_ids", "removed_peer_ids"})
"""Names of the fields that name peers."""


def peers_of(method: str) -> Callable[[Message], Iterator[tuple[str, str]]]:
    """What finds (path, id) of each peer that a request of this call names."""
    call = CALLS.get(method)
    paths = [path.split(".") for path in _peer_paths(_request_of(method))] if call else []
    return lambda request: (found for names in paths for found in _values(request, names))


def _request_of(method: str) -> Descriptor:
    service, name = method.strip("/").split("/")
    return default_pool().FindServiceByName(service).methods_by_name[name].input_type


def _peer_paths(message: Descriptor, prefix: str = "") -> Iterator[str]:
    for field in message.fields:
        if field.message_type is not None:
            yield from _peer_paths(field.message_type, f"{prefix}{field.name}.")
        elif field.name in PEERS and field.type == field.TYPE_STRING:
            yield f"{prefix}{field.name}"


def stores_of(method: str) -> Callable[[Message], Iterator[str]]:
    """What finds the stores that a request of this call reports about, or asks to rejoin."""
    call = CALLS.get(method)
    paths = [path.split(".") for path, right in call.owned.items() if right is STORE] if call else []
    return lambda request: (value for names in paths for _, value in _values(request, names))


class Denial(NamedTuple):
    """A field that the identity does not own; ``field`` is empty where the call itself is not its own."""

    field: str
    why: str
    right: Right | None = None
    """What it would need for the field."""


Check = Callable[[Identity, Message], Denial | None]


def check_of(method: str) -> Check:
    """The check of a call's requests; one without an entry is nobody's."""
    call = CALLS.get(method)
    if call is None:
        return lambda identity, request: Denial("", "nobody may make this call here")
    owned = [(path.split("."), right) for path, right in call.owned.items()]

    def check(identity: Identity, request: Message) -> Denial | None:
        named = ((place, right, value) for names, right in owned for place, value in _values(request, names))
        return deny(identity, call, named)

    return check


def deny(identity: Identity, call: Call, named: Iterable[tuple[str, Right, str]]) -> Denial | None:
    """What is not the identity's of a call that names these: (field, what it needs, value); None: all is its own."""
    if identity.roles.isdisjoint(call.roles):
        return Denial("", f"needs the role {list_roles(call.roles)}, which {identity.name} has not")
    for scope in call.whole:
        if not identity.owns_all(scope):
            return Denial("", f"needs all {scope.value}, and {identity.name} has some of them")
    for field, right, value in named:
        if value and not identity.owns(right.roles, right.scope, value):
            why = f"is not in the {right.scope.value} of {list_roles(right.roles)} {identity.name}"
            return Denial(field, why, right)
    return None


def list_roles(roles: Sequence[Role]) -> str:
    """The roles of which one is needed, for people."""
    return " or ".join(role.value for role in roles)


def _values(message: Any, names: Sequence[str], place: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of each occurrence of a field: a path through lists has their indexes."""
    name, *rest = names
    where = f"{place}.{name}" if place else name
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if descriptor.is_repeated:
        for index, one in enumerate(value):
            yield from _values(one, rest, f"{where}[{index}]") if rest else ((f"{where}[{index}]", one),)
    elif not rest:
        yield where, value
    elif message.HasField(name):
        yield from _values(value, rest, where)
