"""What the status page reads, as JSON: the answers of the same calls that the command line makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from gossipcontrol.server.core.diagnosis.neighbor_graph import NeighborGraph
from gossipcontrol.server.errors import InvalidRequest, NotFound
from gossipcontrol.server.rpc.gossip_control import GossipControlService
from gossipcontrol.server.runtime.slices import Slice
from gossipcontrol.server.status_page.bridge import Bridge
from gossipcontrol.server.status_page.site import Answer, Handler, Request, as_json
from gossipcontrol.v1.decision_pb2 import Cause, RejoinOutcome
from gossipcontrol.v1.gossip_control_pb2 import (
    ExplainRequest,
    ListPeersRequest,
    ListRejoinsRequest,
    ListStoresRequest,
    PastTrigger,
    RejoinRequest,
)
from gossipcontrol.v1.liveness_pb2 import PeerState

PAGE_SIZE = 100
"""Most rows of one answer."""


class PageContext:
    """Stands for gRPC's context of a call that a page makes."""

    def __init__(self, client: str) -> None:
        self._client = client

    def peer(self) -> str:
        """Who calls; each address has a share of its own."""
        return f"http:{self._client}"


class Reads:
    """The pages below ``/api``; they are for the status page of the same version, and no contract."""

    def __init__(
        self,
        bridge: Bridge,
        service: GossipControlService,
        overview: Callable[[], dict[str, Any]],
        graph: Callable[[str], NeighborGraph | None],
        troubled: Callable[[str], int],
        name: Callable[[str], str],
    ) -> None:
        self._bridge = bridge
        self._service = service
        self._overview = overview
        self._graph = graph
        self._troubled = troubled
        self._name = name

    def routes(self) -> dict[str, Handler]:
        """The pages by path."""
        return {
            "/api/overview": self._show_overview,
            "/api/stores": self._list_stores,
            "/api/peers": self._list_peers,
            "/api/rejoins": self._list_rejoins,
            "/api/explain": self._explain,
            "/api/graph": self._show_graph,
        }

    def _show_overview(self, request: Request) -> Answer:
        async def read() -> dict[str, Any]:
            return self._overview()

        return as_json(self._bridge.ask(request.client, read))

    def _list_stores(self, request: Request) -> Answer:
        query = request.query
        asked = ListStoresRequest(page_size=_size(query), page_token=query.get("after", ""))
        context = cast("Any", PageContext(request.client))

        async def read() -> dict[str, Any]:
            found, work = await self._service.ListStores(asked, context), Slice()
            stores: list[dict[str, Any]] = []
            for store in found.stores:
                await work.rest()
                stores.append({**as_dict(store), "troubled_count": self._troubled(store.store_id)})
            found.ClearField("stores")
            return {**as_dict(found), "stores": stores}

        return as_json(self._bridge.ask(request.client, read))

    def _list_peers(self, request: Request) -> Answer:
        query = request.query
        asked = ListPeersRequest(
            store_id=query.get("store", ""),
            state=_number(query, "state", PeerState),
            page_size=_size(query),
            page_token=query.get("after", ""),
        )
        return self._call(request, self._service.ListPeers, asked)

    def _list_rejoins(self, request: Request) -> Answer:
        query = request.query
        asked = ListRejoinsRequest(
            store_id=query.get("store", ""),
            node_id=query.get("node", ""),
            outcome=_number(query, "outcome", RejoinOutcome),
            page_size=_size(query),
            page_token=query.get("after", ""),
        )
        return self._call(request, self._service.ListRejoins, asked)

    def _explain(self, request: Request) -> Answer:
        query = request.query
        if "rejoin" in query:
            asked = ExplainRequest(past=PastTrigger(rejoin_id=query["rejoin"]))
        else:
            cause = _number(query, "cause", Cause)
            node_id, store_id = query.get("node", ""), query.get("store", "")
            asked = ExplainRequest(rejoin=RejoinRequest(node_id=node_id, store_ids=[store_id], cause=cause))
        return self._call(request, self._service.Explain, asked)

    def _show_graph(self, request: Request) -> Answer:
        store_id = request.query.get("store", "")

        async def read() -> tuple[NeighborGraph, list[str]] | None:
            graph = self._graph(store_id)
            return None if graph is None else (graph, [self._name(one.node_id) for one in graph.nodes])

        found = self._bridge.ask(request.client, read)
        if found is None:
            raise NotFound(f"no node has reported of the store {store_id}")
        graph, names = found
        nodes = [
            {
                "node_id": one.node_id,
                "name": name,
                "causes": [cause.name for cause in one.causes],
                "side": one.side,
                "reports": one.reports,
            }
            for one, name in zip(graph.nodes, names, strict=True)
        ]
        return as_json({**graph._asdict(), "nodes": nodes})

    def _call(self, request: Request, method: Callable[[Any, Any], Any], asked: Message) -> Answer:
        context = PageContext(request.client)
        answer: Message = self._bridge.ask(request.client, lambda: method(asked, context))
        return as_json(as_dict(answer))


def as_dict(message: Message) -> dict[str, Any]:
    """A message as JSON knows it, with the names of the contract."""
    return MessageToDict(message, preserving_proto_field_name=True)


def _size(query: Mapping[str, str]) -> int:
    given = query.get("size", str(PAGE_SIZE))
    if not given.isascii() or not given.isdigit() or not 0 < int(given[:9]) <= PAGE_SIZE:
        raise InvalidRequest([("size", f"must be from 1 to {PAGE_SIZE}")])
    return int(given)


def _number(query: Mapping[str, str], name: str, kind: Any) -> Any:
    """The number of an enum's value that is named as in the contract; 0: none is."""
    given, numbers = query.get(name, ""), dict(kind.items())
    if given and given not in numbers:
        raise InvalidRequest([(name, f"is none of {', '.join(numbers)}")])
    return numbers.get(given, 0)
