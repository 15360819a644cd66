"""What the service asks of etcd, over gRPC: one endpoint after the other, until one answers."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.state.ledger import Late
from gossipcontrol.system import handshake

CALL_TIME = 0.3
"""Seconds in which an endpoint must answer; then the next one is asked the same."""
PATIENCE = 5.0
"""Seconds after which a call that no endpoint answers is given up: an election takes one or two."""
AUTHENTICATE_TIME = 1.0
"""Seconds in which an endpoint must answer to a password: it hashes it, which takes a tenth of a second or more."""
RENEW_INTERVAL = 5.0
"""Seconds between two looks at the files of certificates and password."""
LOOK_INTERVAL = 10.0
"""Seconds between two looks at why an endpoint refuses."""
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
_OLD_TOKENS = ("invalid auth token", "revision of auth store is old")
"""What etcd says to a token that is too old, or that was given before users or roles changed."""
_SETTINGS = handshake.Settings("etcd.authority", "etcd.certificate and etcd.key", "leave out etcd.authority")
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
    files: handshake.Files | None = None
    """Where these certificates come from; None: nowhere, and why an endpoint refuses is not looked at."""


class EtcdClient:
    """Calls with a short timeout; a call may be carried out twice, so it must not matter.

    ``read_access`` reads the files again (it may raise OSError or ValueError): what has changed is taken once etcd
    accepts it, so certificates and passwords can be replaced while the service runs.
    """

    def __init__(self, access: EtcdAccess, read_access: Callable[[], EtcdAccess] | None = None) -> None:
        self._access = access
        self._read_access = read_access
        self._channels = [_open(access, endpoint) for endpoint in access.endpoints]
        self._current = 0
        self._token = ""
        self._authenticating = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looks: dict[int, tuple[float, str]] = {}
        """By number: when it was looked at why an endpoint refuses, and what was seen."""

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
        number, token = self._current, self._token
        try:
            metadata = await self._metadata(number)
            call = self._channels[number].stream_stream(
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
                self._distrust(answer.cancel_reason, number, token)
        except grpc.aio.AioRpcError as error:
            self._distrust(error.details() or "", number, token)
        except (TimeoutError, asyncio.InvalidStateError):  # the latter is what a call says that has ended already
            self._distrust("", number, token)
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise  # else the connection was renewed
        finally:
            if call is not None:
                call.cancel()

    async def close(self) -> None:
        """Close the connections."""
        for one in (self._renewing, self._looking):
            if one is not None:
                one.cancel()
                await asyncio.gather(one, return_exceptions=True)
        await _close(self._channels)

    async def _ask(self, method: str, request: Message, kind: type[Any]) -> Any:
        """Ask one endpoint after the other; raises Late, with what the last one said."""
        if self._read_access is not None and self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew(self._read_access))
        until = time.monotonic() + PATIENCE
        while True:
            number, token = self._current, self._token
            try:
                return await self._call(number, method, request, kind)
            except grpc.aio.AioRpcError as error:
                why, said = _explain(error, self._access.endpoints[number]), error.details() or ""
                if not _is_old_token(said) and error.code() not in _ELSEWHERE:
                    raise Late(why) from error
                self._distrust(said, number, token)
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    why = self._seen(number) or why
            except (asyncio.CancelledError, asyncio.InvalidStateError):
                if _is_being_cancelled():
                    raise
                why = "etcd: the connection was renewed"  # while this call was under way
            if time.monotonic() >= until:
                raise Late(why)
            await asyncio.sleep(PAUSE)

    def _seen(self, number: int) -> str:
        """Why an endpoint refuses, as the last look showed; "" if that showed nothing. A look delays no call."""
        at, seen = self._looks.get(number, (-math.inf, ""))
        age = time.monotonic() - at
        is_free = self._looking is None or self._looking.done()
        if age >= LOOK_INTERVAL and is_free and self._access.files is not None:
            self._looking = asyncio.get_running_loop().create_task(self._look(number, self._access.files))
        return seen if age < 2 * LOOK_INTERVAL else ""

    async def _look(self, number: int, files: handshake.Files) -> None:
        endpoint = self._access.endpoints[number]
        why = await asyncio.to_thread(_why_refused, endpoint, files)
        self._looks[number] = (time.monotonic(), why and f"etcd at {endpoint}: {why}")

    def _distrust(self, why: str, number: int, token: str) -> None:
        """Ask another endpoint, or with another token, from now on, unless another call has seen to that."""
        if _is_old_token(why):
            self._token = "" if self._token == token else self._token
        elif self._current == number:
            self._current = (number + 1) % len(self._channels)

    async def _call(self, number: int, method: str, request: Message, kind: type[Any]) -> Any:
        metadata = await self._metadata(number)
        return await _send(self._channels[number], method, request, kind, metadata)

    async def _metadata(self, number: int) -> Metadata:
        """The token, where etcd asks for one."""
        if self._access.user and not self._token:
            async with self._authenticating:
                if not self._token:
                    self._token = await _authenticate(self._channels[number], self._access)
        return _with_token(self._token)

    # Certificates and passwords that are replaced.

    async def _renew(self, read_access: Callable[[], EtcdAccess]) -> None:
        while True:
            await asyncio.sleep(RENEW_INTERVAL)
            with suppress(OSError, ValueError):  # they are being replaced just now
                access = read_access()
                if access != self._access:
                    await self._try(access)

    async def _try(self, access: EtcdAccess) -> None:
        """Go on with new connections if one of them works: a mistake in the files must not cost the old ones."""
        channels = [_open(access, endpoint) for endpoint in access.endpoints]
        try:
            for step in range(len(channels)):
                number = (self._current + step) % len(channels)
                token = await _is_accepted(channels[number], access)
                if token is not None:
                    channels, self._channels = self._channels, channels
                    self._access, self._token, self._current = access, token, number
                    await asyncio.sleep(AUTHENTICATE_TIME)  # calls under way end
                    return
        finally:
            await _close(channels)


Metadata = tuple[tuple[str, str], ...]
_NOTHING = etcd_pb2.RangeRequest(key=b"gc")
"""A read of a key that is not there."""


_ELSEWHERE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)
"""An endpoint that answers so may be the only one that does."""


def _is_being_cancelled() -> bool:
    """Whether it is the task that is cancelled, not just a call whose channel was closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_old_token(said: str) -> bool:
    return any(one in said for one in _OLD_TOKENS)


async def _send(
    channel: grpc.aio.Channel, method: str, request: Message, kind: type[Any], metadata: Metadata,
    within: float = CALL_TIME,
) -> Any:  # fmt: skip
    call: Any = channel.unary_unary(
        method, request_serializer=type(request).SerializeToString, response_deserializer=kind.FromString
    )
    return await call(request, timeout=within, metadata=metadata)


async def _authenticate(channel: grpc.aio.Channel, access: EtcdAccess) -> str:
    """A token for further calls."""
    asked = etcd_pb2.AuthenticateRequest(name=access.user, password=access.password)
    kind = etcd_pb2.AuthenticateResponse
    given = await _send(channel, f"{_AUTH}Authenticate", asked, kind, (), AUTHENTICATE_TIME)
    return str(given.token)


async def _is_accepted(channel: grpc.aio.Channel, access: EtcdAccess) -> str | None:
    """The token (empty where none is asked for) with which etcd answers a call; None: it does not."""
    token, kind = "", etcd_pb2.RangeResponse
    try:
        if access.user:
            token = await _authenticate(channel, access)
        await _send(channel, f"{_KV}Range", _NOTHING, kind, _with_token(token), AUTHENTICATE_TIME)
    except grpc.aio.AioRpcError as error:
        is_known = error.code() is grpc.StatusCode.PERMISSION_DENIED
        return token if is_known else None
    return token


def _with_token(token: str) -> Metadata:
    return (("token", token),) if token else ()


async def _close(channels: Sequence[grpc.aio.Channel]) -> None:
    for channel in channels:
        await channel.close()


def _explain(error: grpc.aio.AioRpcError, endpoint: str) -> str:
    said = error.details() or error.code().name
    if _FULL in said:
        return (
            f"etcd has no space left ({said}): compact and defragment it or raise --quota-backend-bytes, "
            "then run `etcdctl alarm disarm`"
        )
    return f"etcd at {endpoint}: {said}"


def _why_refused(endpoint: str, files: handshake.Files) -> str:
    host, _, port = endpoint.rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), handshake.LOOK_TIME)
    except (OSError, ValueError):  # the latter for a name that cannot be one
        return ""
    if not files.authority:
        return "it speaks TLS; set etcd.authority" if handshake.speaks_tls(connection) else ""
    try:
        return handshake.why_refused(connection, host.strip("[]"), files, _SETTINGS)
    except handshake.FilesError as error:
        return str(error)


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
