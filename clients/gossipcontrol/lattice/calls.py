"""The calls of a Lattice daemon, over its Unix socket."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc
from gossipcontrol.agent.daemon import DaemonGoneError
from gossipcontrol.client.failure import failure
from gossipcontrol.client.intention import Intention
from gossipcontrol.lattice import daemon_pb2 as pb
from gossipcontrol.lattice import daemon_pb2_grpc

T = TypeVar("T")
ANSWER_TIME = 5.0
"""Seconds within which the daemon must answer; it takes milliseconds, 23 for the observations of 1,547 intentions."""
SYNC_TIME = 10.0
"""Seconds that a sync may take: it waits for every peer that is thought online, up to 30 s for one that is not."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of one answer."""
MOST_STORES = 1024
"""Most stores of a node that the service takes."""
MOST_PEERS = 1000
"""Most peers of a store that are looked at."""
HASH_BYTES = 32
ROOT = bytes(HASH_BYTES)
"""What an author's first intention names as its predecessor."""
ACTIVE = frozenset({"active", "dormant"})
"""Statuses of peers that are members of a store; the others are invited or revoked."""
REVOKED = "revoked"


class StoreGoneError(Exception):
    """The daemon has no such store, or none with peers."""


@dataclass(frozen=True, slots=True)
class StorePeer:
    """A peer of a store, as the daemon sees it."""

    peer_id: str
    """Its key in hexadecimal digits."""
    status: str
    online: bool
    """Whether the node is connected with it, in this store or in another."""
    last_seen: float
    """Seconds since it gave a sign of life; only while it is online."""


def default_socket(environ: Mapping[str, str] | None = None) -> Path:
    """Where a Lattice daemon of this user listens: it has no flag for another path."""
    environ = os.environ if environ is None else environ
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return data / "lattice" / "latticed.sock"


def store_text(store_id: bytes) -> str:
    """The id of a store as people write it: a UUID; empty when it is none."""
    return str(uuid.UUID(bytes=store_id)) if len(store_id) == 16 else ""


def store_bytes(store_id: str) -> bytes:
    """The id of a store as the daemon takes it."""
    return uuid.UUID(store_id).bytes


class Calls:
    """Each raises DaemonGoneError when the daemon cannot be reached or fails, and says why."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket.absolute()}",
            options=(
                # By default the authority is the path of the socket, which the daemon refuses as malformed.
                ("grpc.default_authority", "localhost"),
                ("grpc.max_receive_message_length", MOST_BYTES),
                ("grpc.enable_retries", 0),
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
        self._node: daemon_pb2_grpc.NodeServiceAsyncStub = daemon_pb2_grpc.NodeServiceStub(self._channel)
        self._store: daemon_pb2_grpc.StoreServiceAsyncStub = daemon_pb2_grpc.StoreServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def node_id(self) -> str:
        """The node's key in hexadecimal digits."""
        status = await _answer(self._node.GetStatus(pb.Empty(), timeout=ANSWER_TIME))
        return status.public_key.hex()

    async def stores(self) -> list[str]:
        """The ids of the roots and of the stores below them, but not of archived ones; at most 1024."""
        found: dict[str, None] = {}
        parents: list[bytes | None] = [None]
        while parents and len(found) < MOST_STORES:
            parent = parents.pop(0)
            with suppress(StoreGoneError):  # it went between two calls
                listed = await _answer(self._store.List(pb.ListStoreRequest(parent_id=parent), timeout=ANSWER_TIME))
                for one in listed.items:
                    store_id = store_text(one.id)
                    if store_id and not one.archived and store_id not in found and len(found) < MOST_STORES:
                        found[store_id] = None
                        parents.append(one.id)
        return list(found)

    async def peers(self, store_id: str) -> list[StorePeer]:
        """The peers of a store, the node itself among them; raises StoreGoneError."""
        listed = await _answer(self._store.ListPeers(_store_id(store_id), timeout=ANSWER_TIME))
        return [
            StorePeer(one.public_key.hex(), one.status, one.online, one.last_seen_ms / 1000)
            for one in listed.items[:MOST_PEERS]
            if 0 < len(one.public_key) <= 64
        ]

    async def reconnect(self, store_id: str) -> None:
        """Have the node dial every peer of a store that it is not connected with. It answers before it does."""
        await _answer(self._store.ReconnectPeers(_store_id(store_id), timeout=ANSWER_TIME))

    async def sync(self, store_id: str) -> None:
        """Sync a store with every peer that is online; says nothing of what came of it."""
        await _answer(self._store.Sync(_store_id(store_id), timeout=SYNC_TIME))

    async def tips(self, store_id: str) -> dict[str, bytes]:
        """Author -> its newest intention; raises StoreGoneError."""
        tips = await _answer(self._store.GetAuthorTips(_store_id(store_id), timeout=ANSWER_TIME))
        return {
            one.public_key.hex(): one.hash
            for one in tips.items[:MOST_PEERS]
            if 0 < len(one.public_key) <= 64 and len(one.hash) == HASH_BYTES and one.hash != ROOT
        }

    async def intention(self, store_id: str, digest: bytes) -> Intention:
        """One intention; raises StoreGoneError."""
        request = pb.GetIntentionRequest(store_id=store_bytes(store_id), hash_prefix=digest)
        answer = await _answer(self._store.GetIntention(request, timeout=ANSWER_TIME))
        found = answer.intention
        is_empty_list = len(found.ops) == 1 and found.ops[0].HasField("list") and not found.ops[0].list.items
        return Intention(
            author_id=found.author.hex(),
            hash=digest,
            store_prev=b"" if found.store_prev in (b"", ROOT) else found.store_prev,
            dependencies=_dependencies(found.condition.v1.hashes),
            acknowledgement=is_empty_list,
        )

    async def floating(self, store_id: str) -> dict[bytes, bytes]:
        """The intentions that wait for another one, and what each names as its predecessor, empty for none.

        Nothing of them is applied. Empty as well where the daemon knows no such call.
        """
        try:
            listed = await _answer(self._store.FloatingIntentions(_store_id(store_id), timeout=ANSWER_TIME))
        except StoreGoneError:
            return {}
        found = (one.intention for one in listed.items)
        return {one.hash: b"" if one.store_prev == ROOT else one.store_prev for one in found}

    async def own_writes(self, store_id: str, node_id: str) -> tuple[int, int]:
        """How many writes the node made, and how many of them one other peer at least is known to hold.

        It costs as much as the store has intentions; raises StoreGoneError.
        """
        request = _store_id(store_id)
        found = await _answer(self._store.GetAuthorStateObservations(request, timeout=ANSWER_TIME))
        own = bytes.fromhex(node_id)
        made = max((one.count for one in found.author_totals if one.author == own), default=0)
        seen = (one.seen for one in found.items if one.observed_author == own and one.observer != own)
        return made, min(made, max(seen, default=0))

    async def store_events(self) -> AsyncGenerator[None]:
        """A sign whenever a store came up; raises DaemonGoneError at the end of the stream."""
        call = self._node.Subscribe(pb.Empty())
        try:
            async for event in call:
                if event.HasField("store_ready"):
                    yield
        except grpc.RpcError as error:
            raise _gone(error) from error
        finally:
            call.cancel()
        raise DaemonGoneError("the daemon ended its stream of events")


MOST_DEPENDENCIES = 1024
"""Most dependencies of one intention that the service takes."""


def _dependencies(hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(one for one in hashes if len(one) == HASH_BYTES and one != ROOT))[:MOST_DEPENDENCIES]


def _store_id(store_id: str) -> pb.StoreId:
    return pb.StoreId(store_id=store_bytes(store_id))


MISSING = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT})
"""What the daemon answers for a store that it does not have; UNIMPLEMENTED is that of ListPeers."""


async def _answer(call: Awaitable[T]) -> T:
    """The answer; raises StoreGoneError and DaemonGoneError."""
    try:
        return await call
    except grpc.RpcError as error:
        if failure(error).code() in MISSING:
            raise StoreGoneError(failure(error).details() or "no such store") from error
        raise _gone(error) from error


def _gone(error: grpc.RpcError) -> DaemonGoneError:
    return DaemonGoneError(f"{failure(error).code().name}: {failure(error).details() or 'no details'}")
