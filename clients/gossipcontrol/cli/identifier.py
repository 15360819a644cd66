"""Ids as people type them: whole, a beginning that only one known id has, or the name of a node.

What a table cut can be pasted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import ClientError, NotFoundError, StatusCode
from gossipcontrol.client.store import Store
from gossipcontrol.system.printable import printable

CUT = "…"
"""How tables end an id that they cut."""
CANDIDATES = 5
"""Most candidates that are named for an ambiguous beginning."""
NAMELESS: Mapping[str, str] = MappingProxyType({})
"""The names of what has none."""
MOST_REJOINS = 1000
"""Newest rejoins among which a beginning is looked up."""


class AmbiguousError(ClientError):
    """Several known ids begin with what was typed."""

    code = StatusCode.INVALID_ARGUMENT


def match(what: str, typed: str, known: Iterable[str], names: Mapping[str, str] = NAMELESS) -> str | None:
    """The known id that is meant; None when there is none. Raises AmbiguousError.

    An id that is known whole is always meant itself, then the name that a node has, then what begins so.
    """
    found = set(known)
    if typed in found:
        return typed
    called = sorted(one for one in found if typed and typed in _texts(names.get(one, "")))
    if len(called) > 1:
        raise AmbiguousError(f"{what} {typed} is ambiguous: {_listed(called, names)} have this name; type an id")
    beginning = _beginning(typed)
    if called or not beginning:
        return called[0] if called else None
    fitting = sorted(one for one in found if any(text.startswith(beginning) for text in _shown(one, names)))
    if len(fitting) > 1:
        raise AmbiguousError(f"{what} {typed} is ambiguous: {_listed(fitting, names)} begin so; type more of it")
    return fitting[0] if fitting else None


def _beginning(typed: str) -> str:
    """What was typed without the marks of tables: ``kitchen (d91c40…)`` is a name and the beginning of its id."""
    return typed.removesuffix(")").removesuffix(CUT) if " (" in typed else typed.removesuffix(CUT)


def _texts(text: str) -> tuple[str, ...]:
    """A text and what is shown of it: tables show control characters escaped, and that is what is pasted."""
    return text, printable(text)


def _shown(identifier: str, names: Mapping[str, str]) -> Iterator[str]:
    """All that tables show of a node, or another id."""
    yield from _texts(identifier)
    if name := names.get(identifier):
        yield from (name, label(identifier, name))


def label(identifier: str, name: str) -> str:
    """An id behind the name of its node."""
    return f"{printable(name)} ({printable(identifier)})" if name else printable(identifier)


def _listed(ids: Sequence[str], names: Mapping[str, str]) -> str:
    more = f" and {len(ids) - CANDIDATES} more" if len(ids) > CANDIDATES else ""
    return ", ".join(label(one, names.get(one, "")) for one in ids[:CANDIDATES]) + more


def unknown(what: str, typed: str) -> NotFoundError:
    """The error for an id that nothing known begins with."""
    return NotFoundError(f"no {what} is known whose id begins with {typed.removesuffix(CUT)}; see gossipcontrol stores")


def meant(what: str, typed: str, known: Iterable[str], names: Mapping[str, str] = NAMELESS) -> str:
    """The known id that is meant, else what was typed: only the service knows all ids. Raises ClientError.

    What a table cut is never taken for an id.
    """
    found = match(what, typed, known, names)
    if found is None and _beginning(typed) != typed:
        raise unknown(what, typed)
    return typed if found is None else found


async def resolve_node(client: Client, typed: str) -> str:
    """The id of the node that is meant; "" stays. Raises ClientError."""
    return (await resolve_nodes(client, (typed,)))[0]


async def resolve_nodes(client: Client, typed: Sequence[str]) -> tuple[str, ...]:
    """The same for several, with one look at the stores."""
    if not any(typed):
        return tuple(typed)
    stores = [store async for store in client.list_stores()]
    known = await _node_names(client, stores, typed)
    return tuple(meant("node", one, known, known) if one else one for one in typed)


async def resolve_store(client: Client, typed: str) -> str:
    """The id of the store that is meant; "" stays. Raises ClientError."""
    return (await resolve(client, "", (typed,)))[1][0]


async def resolve(client: Client, node: str, stores: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A node and stores, with one look: a store of that node is meant before one of others. Raises ClientError."""
    if not node and not any(stores):
        return node, tuple(stores)
    listed = [store async for store in client.list_stores()]
    names = await _node_names(client, listed, (node,)) if node else NAMELESS
    node = meant("node", node, names, names) if node else node
    everywhere = {store.store_id for store in listed}
    own = {store.store_id for store in listed if any(one.node_id == node for one in store.nodes)}
    return node, tuple(_store(one, own, everywhere) for one in stores)


def _store(typed: str, own: Collection[str], everywhere: Collection[str]) -> str:
    if not typed or typed in everywhere:
        return typed
    return match("store", typed, own) or meant("store", typed, everywhere)


async def resolve_rejoin(client: Client, typed: str) -> str:
    """The id of the rejoin that is meant, by the number at its end or by its beginning. Raises ClientError."""
    if not typed or _is_whole(typed):
        return typed
    listed = [one.rejoin_id async for one in client.list_rejoins(limit=MOST_REJOINS)]
    # The beginning is the same for all rejoins of one run of the service, so the number is what people type.
    numbered = [one for one in listed if typed.removeprefix("-") == one.rpartition("-")[2]]
    if len(numbered) > 1:
        raise AmbiguousError(f"rejoin {typed} is ambiguous: {', '.join(numbered[:CANDIDATES])} end so; type it whole")
    return numbered[0] if numbered else match("rejoin", typed, listed) or typed


def _is_whole(rejoin_id: str) -> bool:
    """Whether it has a number at its end: b9e08739-1 never means b9e08739-12, which is another rejoin."""
    start, _, number = rejoin_id.rpartition("-")
    return bool(start) and number.isdigit()


async def resolve_peers(client: Client, store_id: str, typed: Sequence[str]) -> tuple[str, ...]:
    """Peers of whose knowledge a store's service has a row. Raises ClientError."""
    if not any(typed):
        return tuple(typed)
    known = [row.peer_id async for row in client.knowledge.rows(store_id)]
    names = await peer_names(client, store_id)
    return tuple(meant("peer", one, known, names) if one else one for one in typed)


async def resolve_new_peers(client: Client, store_id: str, typed: Sequence[str]) -> tuple[str, ...]:
    """Peers that need not be known: a whole name of one, else the id that was typed. Raises ClientError."""
    names = await peer_names(client, store_id)
    ids = dict.fromkeys(names, "")
    named = {one for one in typed if one not in ids and one in names.values()}
    return tuple(meant("peer", one, names, names) if one in named else one for one in typed)


async def peer_names(client: Client, store_id: str) -> dict[str, str]:
    """The peers of a store, and the names of those that have one."""
    return {peer.peer_id: peer.name async for peer in client.list_peers(store_id)}


async def is_known_store(client: Client, store_id: str) -> bool:
    """Whether the service knows a store of this id."""
    return store_id in {store.store_id async for store in client.list_stores()}


async def _node_names(client: Client, stores: Sequence[Store], typed: Sequence[str]) -> dict[str, str]:
    """Every node that is listed, and its name, if any.

    Of a store with more nodes than are listed, its peers too: nodes are among them.
    """
    known = {node.node_id: node.name for store in stores for node in store.nodes}
    if all(one in known for one in typed if one):
        return known
    for store in stores:
        if store.node_count > len(store.nodes):
            known.update(await peer_names(client, store.store_id))
    return known
