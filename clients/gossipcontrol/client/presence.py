"""The presence of a store's peers, as the service tells it: kept up to date from snapshots and changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.errors import ClientError, OverloadedError, UnreachableError, client_error
from gossipcontrol.client.retry import is_transient, reconnect_wait
from gossipcontrol.v1 import gossip_control_pb2, liveness_pb2
from gossipcontrol.v1.liveness_pb2 import PEER_STATE_UNSPECIFIED, PeerState

Call: TypeAlias = (
    "grpc.aio.UnaryStreamCall[gossip_control_pb2.WatchPeersRequest, gossip_control_pb2.WatchPeersResponse]"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of a store."""

    peer_id: str
    state: PeerState.ValueType
    heard_age: float | None
    """Seconds since its last sign of life as far as is known here; None when there was none."""
    observers: int
    """Nodes that have heard it."""


@dataclass(frozen=True, slots=True)
class PeerChange:
    """A peer came, went, or changed its state; UNSPECIFIED stands for not being there."""

    peer_id: str
    before: PeerState.ValueType
    after: PeerState.ValueType


class Presence:
    """One store's peers; ages go on growing between two messages."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._peers: dict[str, tuple[liveness_pb2.PeerView, float]] = {}
        self._unnamed: set[str] = set()
        """Held before the snapshot that is coming in parts, and not named by any so far."""
        self.version = 0
        """Of the view that is held, to be named to the service; 0: none is."""

    def take(self, view: liveness_pb2.StoreView, *, more: bool = False) -> list[PeerChange]:
        """Take a view or a difference; returns what it changed.

        ``more``: further parts of a snapshot follow (a WatchPeersResponse without a resume token), and only with the
        last of them is it known who is gone.
        """
        now = self._clock()
        if not view.delta:
            self._unnamed = set(self._peers)
        self._unnamed.difference_update(peer.peer_id for peer in view.peers)
        gone = list(view.removed_peer_ids)
        if not more:
            gone += sorted(self._unnamed)
            self._unnamed.clear()
        changes = [self._put(peer, now) for peer in view.peers] + [self._drop(peer_id) for peer_id in gone]
        self.version = view.version
        return [change for change in changes if change.before != change.after]

    def peers(self) -> list[Peer]:
        """The peers by id."""
        return [self._peer(*self._peers[peer_id]) for peer_id in sorted(self._peers)]

    def peer(self, peer_id: str) -> Peer | None:
        """One peer."""
        held = self._peers.get(peer_id)
        return self._peer(*held) if held else None

    def _put(self, peer: liveness_pb2.PeerView, now: float) -> PeerChange:
        held = self._peers.get(peer.peer_id)
        self._peers[peer.peer_id] = (peer, now)
        return PeerChange(peer.peer_id, held[0].state if held else PEER_STATE_UNSPECIFIED, peer.state)

    def _drop(self, peer_id: str) -> PeerChange:
        held = self._peers.pop(peer_id, None)
        return PeerChange(peer_id, held[0].state if held else PEER_STATE_UNSPECIFIED, PEER_STATE_UNSPECIFIED)

    def _peer(self, view: liveness_pb2.PeerView, at: float) -> Peer:
        age = view.heard_age_ms / 1000 + self._clock() - at if view.HasField("heard_age_ms") else None
        return Peer(view.peer_id, view.state, age, view.observers)


async def watch(
    open_call: Callable[[gossip_control_pb2.WatchPeersRequest], Call],
    request: gossip_control_pb2.WatchPeersRequest,
    timeout: float,
    on_loss: Callable[[ClientError], None],
) -> AsyncIterator[gossip_control_pb2.WatchPeersResponse]:
    """What the service tells, from one stream after the other; each goes on where the one before ended."""
    asked = gossip_control_pb2.WatchPeersRequest()
    asked.CopyFrom(request)
    ends_at: float | None = time.monotonic() + timeout
    failures, wait = 0, 0.0
    while True:
        call = open_call(asked)
        try:
            while True:
                async with asyncio.timeout(None if ends_at is None else max(0.001, ends_at - time.monotonic())):
                    response = await call.read()
                if not isinstance(response, gossip_control_pb2.WatchPeersResponse):
                    raise UnreachableError("the service ended the stream")
                ends_at, failures = None, 0
                asked.resume_token = response.resume_token
                yield response
        except TimeoutError as error:
            raise UnreachableError(f"no answer within {timeout:g} s") from error
        except (grpc.aio.AioRpcError, UnreachableError) as error:
            failures += 1
            loss, wait = _loss(error), reconnect_wait(failures)
            if isinstance(loss, OverloadedError):
                wait = max(wait, loss.retry_in)
            if not _may_pass(error) or (ends_at is not None and time.monotonic() + wait >= ends_at):
                raise loss from error
            on_loss(loss)
        finally:
            call.cancel()
        await asyncio.sleep(wait)


def _loss(error: grpc.aio.AioRpcError | UnreachableError) -> ClientError:
    return client_error(error) if isinstance(error, grpc.aio.AioRpcError) else error


def _may_pass(error: grpc.aio.AioRpcError | UnreachableError) -> bool:
    return isinstance(error, UnreachableError) or is_transient(error)
