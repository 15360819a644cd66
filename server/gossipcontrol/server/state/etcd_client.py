"""What the service asks of etcd, over gRPC: one endpoint after the other, until one answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.state.ledger import Late

CALL_TIME = 0.3
"""Seconds in which an endpoint must answer; then the next one is asked the same."""
PATIENCE = 5.0
"""Seconds after which a call that no endpoint answers is given up: an election takes one or two."""
PAUSE = 0.05
"""Seconds between two tries that failed at once."""
MESSAGE_BYTES = 64 << 20
"""Largest answer; the requests keep below etcd's own limit of 1.5 MiB."""
WATCH_TIME = 1.0
"""Seconds in which a watch must begin."""
_KV, _AUTH, _WATCH = "/etcdserverpb.KV/", "/etcdserverpb.Auth/", "/etcdserverpb.Watch/Watch"
_LEADER = ("hasleader", "true")
"""Has a member that is cut off from the others end a watch."""
_NO_DELETIONS = 1
_FULL = "database space exceeded"
_OLD_TOKEN = "invalid auth token"
_COMPACTED = "required revision has been compacted"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAccess:
    """Where etcd is, and what it asks of its clients."""

    endpoints: Sequence[str]
    """Addresses, HOST:PORT."""
    authority: bytes | None = None
    """Certificates that sign that of etcd, in PEM; None: no TLS."""
    certificate: bytes | None = None
    """This client's certificate chain, in PEM."""
    key: bytes | None = None
    """Its key, in PEM."""
    user: str = ""
    """Name of a user of etcd; empty: none is asked for."""
    password: str = ""


class EtcdClient:
    """Calls with a short timeout; a call may be carried out twice, so it must not matter."""

    def __init__(self, access: EtcdAccess) -> None:
        self._access = access
        self._channels = [_open(access, endpoint) for endpoint in access.endpoints]
        self._current = 0
        self._token = ""

    async def range(self, request: etcd_pb2.RangeRequest) -> etcd_pb2.RangeResponse:
        """Read keys, as they are by the will of a majority."""
        answer: etcd_pb2.RangeResponse = await self._ask(f"{_KV}Range", request, etcd_pb2.RangeResponse)
        return answer

    async def put(self, key: bytes, value: bytes) -> None:
        """Write a key."""
        await self._ask(f"{_KV}Put", etcd_pb2.PutRequest(key=key, value=value), etcd_pb2.PutResponse)

    async def delete_range(self, key: bytes, end: bytes) -> None:
        """Delete keys."""
        request = etcd_pb2.DeleteRangeRequest(key=key, range_end=end)
        await self._ask(f"{_KV}DeleteRange", request, etcd_pb2.DeleteRangeResponse)

    async def txn(self, request: etcd_pb2.TxnRequest) -> etcd_pb2.TxnResponse:
        """Compare, and do one thing or another."""
        answer: etcd_pb2.TxnResponse = await self._ask(f"{_KV}Txn", request, etcd_pb2.TxnResponse)
        return answer

    async def compact(self, revision: int) -> None:
        """Forget what was before a revision; others may have done so."""
        try:
            request = etcd_pb2.CompactionRequest(revision=revision)
            await self._ask(f"{_KV}Compact", request, etcd_pb2.CompactionResponse)
        except Late as error:
            if _COMPACTED not in str(error):
                raise

    async def watch(self, key: bytes, end: bytes, revision: int) -> AsyncGenerator[Sequence[etcd_pb2.KeyValue]]:
        """The new values of keys from this revision on, as one endpoint tells them; ends when it tells no more.

        That is so when it is gone or cut off, or has forgotten the revision: whoever needs the rest reads the keys.
        """
        create = etcd_pb2.WatchCreateRequest(
            key=key, range_end=end, start_revision=revision, filters=[_NO_DELETIONS], fragment=True
        )
        call: Any = None
        try:
            metadata = await self._metadata()
            call = self._channels[self._current].stream_stream(
                _WATCH,
                request_serializer=etcd_pb2.WatchRequest.SerializeToString,
                response_deserializer=etcd_pb2.WatchResponse.FromString,
            )(metadata=(_LEADER, *metadata))
            async with asyncio.timeout(WATCH_TIME):
                await call.write(etcd_pb2.WatchRequest(create_request=create))
                answer = await call.read()
            while isinstance(answer, etcd_pb2.WatchResponse) and not answer.canceled:
                yield [one.kv for one in answer.events]
                answer = await call.read()
            if isinstance(answer, etcd_pb2.WatchResponse) and not answer.compact_revision:
                self._distrust(answer.cancel_reason)
        except grpc.aio.AioRpcError as error:
            self._distrust(error.details() or "")
        except (TimeoutError, asyncio.InvalidStateError):  # the latter is what a call says that has ended already
            self._distrust("")
        finally:
            if call is not None:
                call.cancel()

    def _distrust(self, why: str) -> None:
        """Ask another endpoint, or with another token, from now on."""
        if _OLD_TOKEN in why:
            self._token = ""
        else:
            self._current = (self._current + 1) % len(self._channels)

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()

    async def _ask(self, method: str, request: Message, kind: type[Any]) -> Any:
        """Ask one endpoint after the other; raises Late, with what the last one said."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await self._call(method, request, kind)
            except grpc.aio.AioRpcError as error:
                why = _explain(error, self._access.endpoints[self._current])
                said = error.details() or ""
                if _OLD_TOKEN not in said and error.code() not in _ELSEWHERE:
                    raise Late(why) from error
                self._distrust(said)
            if time.monotonic() >= until:
                raise Late(why)
            await asyncio.sleep(PAUSE)

    async def _call(self, method: str, request: Message, kind: type[Any]) -> Any:
        metadata = await self._metadata()
        return await _send(self._channels[self._current], method, request, kind, metadata)

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        """The token, where etcd asks for one."""
        if self._access.user and not self._token:
            asked = etcd_pb2.AuthenticateRequest(name=self._access.user, password=self._access.password)
            channel = self._channels[self._current]
            given = await _send(channel, f"{_AUTH}Authenticate", asked, etcd_pb2.AuthenticateResponse, ())
            self._token = given.token
        return (("token", self._token),) if self._token else ()


_ELSEWHERE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)
"""An endpoint that answers so may be the only one that does."""


async def _send(
    channel: grpc.aio.Channel, method: str, request: Message, kind: type[Any], metadata: tuple[tuple[str, str], ...]
) -> Any:
    call: Any = channel.unary_unary(
        method, request_serializer=type(request).SerializeToString, response_deserializer=kind.FromString
    )
    return await call(request, timeout=CALL_TIME, metadata=metadata)


def _explain(error: grpc.aio.AioRpcError, endpoint: str) -> str:
    said = error.details() or error.code().name
    if _FULL in said:
        return (
            f"etcd has no space left ({said}): compact and defragment it or raise --quota-backend-bytes, "
            "then run `etcdctl alarm disarm`"
        )
    return f"etcd at {endpoint}: {said}"


def _open(access: EtcdAccess, endpoint: str) -> grpc.aio.Channel:
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 300),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.use_local_subchannel_pool", 1),  # so that a closed client leaves nothing to the next
    ]
    if access.authority is None:
        return grpc.aio.insecure_channel(endpoint, options)
    credentials = grpc.ssl_channel_credentials(access.authority, access.key, access.certificate)
    return grpc.aio.secure_channel(endpoint, credentials, options)
