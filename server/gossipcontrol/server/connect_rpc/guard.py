"""What a request over HTTP must be before it becomes a call: for this host, from an allowed origin, in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from gossipcontrol.server.config import LOOPBACK
from gossipcontrol.server.connect_rpc.application import Application, Receive, Scope, Send
from gossipcontrol.server.connect_rpc.connection import END
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.rpc.progress import WRITE_TIME

REQUEST_TIME = 30.0
"""Seconds within which a request must be there, its body included."""
HELD_BYTES = 32 * 1024 * 1024
"""Most bytes of requests that are on their way, of all connections together."""
ROOM_RETRY = 1
"""Seconds after which a request may find room."""
PREFLIGHT_AGE = 7200
"""Seconds for which a browser may remember that an origin is allowed."""
TYPES = frozenset(
    f"application/{protocol}{codec}"
    for protocol, codecs in (
        ("", ("json", "proto")),
        ("connect+", ("json", "proto")),
        ("grpc-web", ("", "+json", "+proto")),
    )
    for codec in codecs
)
"""What a request may be."""
CODES = {400: "invalid_argument", 403: "permission_denied", 404: "unimplemented", 415: "unimplemented"}
"""What the Connect protocol calls these statuses."""

Headers = list[tuple[bytes, bytes]]


class Refused(Exception):
    """The request is answered with this status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Lets through what is allowed; ``origins`` are the web pages that may call.

    Where callers show tokens (``has_tokens``) the host may have any name: a page that had its own name lead here would
    know no token.
    """

    def __init__(
        self, application: Application, origins: frozenset[str], log: Logger, *, has_tokens: bool = False
    ) -> None:
        self._has_tokens = has_tokens
        self._application = application
        self._origins = origins
        self._log = log
        self.held = 0
        """Bytes of requests that are on their way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        cross: Headers = []
        try:
            cross = self._check_origin(headers)
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await _respond(send, 204, [*cross, *_preflight()], b"")
                return
            _check_request(scope, headers)
        except Refused as refused:
            body = json.dumps({"code": CODES[refused.status], "message": str(refused)}).encode()
            await _respond(send, refused.status, [*cross, (b"content-type", b"application/json")], body)
            return
        request = _Body(receive, self)
        try:
            await self._application(scope, request.receive, _writing(send, cross, request))
        except TimeoutError:
            # The client reads nothing, so the connection cannot be closed in order.
            scope["state"][END]()
        except Exception as error:
            self._log.error("call failed", rpc=scope["path"], exc_info=error)
            raise
        finally:
            self.held -= request.size

    def _check_origin(self, headers: dict[bytes, bytes]) -> Headers:
        """The headers that tell a browser that its page may read the answer; raises Refused.

        A page that is not allowed is refused, because its call would be carried out even if it cannot read the answer.
        The name of the host is checked, because a page could have its own name lead here.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._has_tokens and host.rpartition(":")[0] not in LOOPBACK and host not in LOOPBACK:
            raise Refused(403, f"host: {host!r} is not a loopback name")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin:
            return []
        if origin not in self._origins:
            raise Refused(403, f"origin: {origin!r} is not in listen.http_origins")
        exposed = b"retry-after, grpc-status, grpc-message, grpc-status-details-bin"
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", exposed),
            (b"vary", b"Origin"),
        ]


def _check_request(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Raises Refused for what the protocol library would not answer with a sentence."""
    if not all(value.isascii() for value in headers.values()):
        raise Refused(400, "headers: must be ASCII")
    kind = headers.get(b"content-type", b"").decode().partition(";")[0].strip().lower()
    if scope["method"] == "POST" and kind not in TYPES:
        raise Refused(415, f"content-type: {kind!r} is not one of {', '.join(sorted(TYPES))}")


def _preflight() -> Headers:
    return [
        (b"access-control-allow-methods", b"POST"),
        (
            b"access-control-allow-headers",
            b"authorization, content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, "
            b"x-user-agent",
        ),
        (b"access-control-max-age", str(PREFLIGHT_AGE).encode()),
    ]


async def _respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class _Body:
    """The body of one request: it is there within ``REQUEST_TIME``, and finds room beside the others.

    What comes after it, the end of the connection, has no limit.
    """

    def __init__(self, receive: Receive, guard: Guard) -> None:
        self._receive = receive
        self._guard = guard
        self._deadline = asyncio.get_running_loop().time() + REQUEST_TIME
        self._is_complete = False
        self.size = 0
        self.headers: Headers = []
        """What the answer must say because of the body."""

    async def receive(self) -> MutableMapping[str, Any]:
        """The next part; raises ConnectError."""
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            text = f"the request was not there within {REQUEST_TIME:g} s"
            raise ConnectError(Code.DEADLINE_EXCEEDED, text) from None
        size = len(message.get("body", b""))
        if self._guard.held + size > HELD_BYTES:
            self.headers.append((b"retry-after", str(ROOM_RETRY).encode()))
            raise ConnectError(Code.RESOURCE_EXHAUSTED, "requests on their way take all room for them")
        self._guard.held += size
        self.size += size
        self._is_complete = not message.get("more_body", False)
        return message


def _writing(send: Send, cross: Headers, request: _Body) -> Send:
    """Sends each part within the write deadline of every stream, and the headers with those for other origins."""

    async def send_within(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *cross, *request.headers]}
        async with asyncio.timeout(WRITE_TIME):
            await send(message)

    return send_within
