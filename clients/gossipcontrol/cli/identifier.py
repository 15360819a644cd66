"""Ids as people type them: whole, or a beginning that only one known id has. What a table cut can be pasted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import ClientError, NotFoundError, StatusCode
from gossipcontrol.client.store import Store
from gossipcontrol.system.printable import printable

CUT = "…"
"""How tables end an id that they cut."""
CANDIDATES = 5
"""Most candidates that are named for an ambiguous beginning."""
MOST_REJOINS = 1000
"""Newest rejoins among which a beginning is looked up."""


class AmbiguousError(ClientError):
    """Several known ids begin with what was typed."""

    code = StatusCode.INVALID_ARGUMENT


def match(what: str, typed: str, known: Iterable[str]) -> str | None:
    """The known id that is meant; None when there is none. Raises AmbiguousError.

    An id that is known whole is always meant itself, whatever else begins with it.
    """
    found = set(known)
    if typed in found:
        return typed
    beginning = typed.removesuffix(CUT)
    if not beginning:
        return None
    # Tables show control characters escaped, and that is what is pasted.
    fitting = sorted(one for one in found if one.startswith(beginning) or printable(one).startswith(beginning))
    if len(fitting) > 1:
        named = ", ".join(map(printable, fitting[:CANDIDATES]))
        more = f" and {len(fitting) - CANDIDATES} more" if len(fitting) > CANDIDATES else ""
        raise AmbiguousError(f"{what} {typed} is ambiguous: {named}{more} begin so; type more of it")
    return fitting[0] if fitting else None


def unknown(what: str, typed: str) -> NotFoundError:
    """The error for an id that nothing known begins with."""
    return NotFoundError(f"no {what} is known whose id begins with {typed.removesuffix(CUT)}; see gossipcontrol stores")


def meant(what: str, typed: str, known: Iterable[str]) -> str:
    """The known id that is meant, else what was typed: only the service knows all ids. Raises ClientError.

    What a table cut is never taken for an id.
    """
    found = match(what, typed, known)
    if found is None and typed.endswith(CUT):
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
    known = await _node_ids(client, stores, typed)
    return tuple(meant("node", one, known) if one else one for one in typed)


async def resolve_store(client: Client, typed: str) -> str:
    """The id of the store that is meant; "" stays. Raises ClientError."""
    return (await resolve(client, "", (typed,)))[1][0]


async def resolve(client: Client, node: str, stores: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A node and stores, with one look: a store of that node is meant before one of others. Raises ClientError."""
    if not node and not any(stores):
        return node, tuple(stores)
    listed = [store async for store in client.list_stores()]
    node = meant("node", node, await _node_ids(client, listed, (node,))) if node else node
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
    return tuple(meant("peer", one, known) if one else one for one in typed)


async def is_known_store(client: Client, store_id: str) -> bool:
    """Whether the service knows a store of this id."""
    return store_id in {store.store_id async for store in client.list_stores()}


async def _node_ids(client: Client, stores: Sequence[Store], typed: Sequence[str]) -> set[str]:
    """Every node that is listed. Of a store with more nodes than are listed, its peers too: nodes are among them."""
    known = {node.node_id for store in stores for node in store.nodes}
    if all(one in known for one in typed if one):
        return known
    for store in stores:
        if store.node_count > len(store.nodes):
            known.update([peer.peer_id async for peer in client.list_peers(store.store_id)])
    return known
