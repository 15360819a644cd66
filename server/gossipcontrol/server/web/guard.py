"""What a request over HTTP must be before it becomes a call: for this host, from an allowed origin, in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from gossipcontrol.server.config import LOOPBACK
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.rpc.progress import WRITE_TIME
from gossipcontrol.server.web.application import Application, Receive, Scope, Send
from gossipcontrol.server.web.connection import END

REQUEST_TIME = 30.0
"""Seconds within which a request must be there, its body included."""
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
    """Lets through what is allowed; ``origins`` are the web pages that may call."""

    def __init__(self, application: Application, origins: frozenset[str], log: Logger) -> None:
        self._application = application
        self._origins = origins
        self._log = log

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
        try:
            await self._application(scope, _in_time(receive), _writing(send, cross))
        except TimeoutError:
            # The client reads nothing, so the connection cannot be closed in order.
            scope["state"][END]()
        except Exception as error:
            self._log.error("call failed", rpc=scope["path"], exc_info=error)
            raise

    def _check_origin(self, headers: dict[bytes, bytes]) -> Headers:
        """The headers that tell a browser that its page may read the answer; raises Refused.

        A page that is not allowed is refused, because its call would be carried out even if it cannot read the answer.
        The name of the host is checked, because a page could have its own name lead here.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if host.rpartition(":")[0] not in LOOPBACK and host not in LOOPBACK:
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
            b"content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, x-user-agent",
        ),
        (b"access-control-max-age", str(PREFLIGHT_AGE).encode()),
    ]


async def _respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _in_time(receive: Receive) -> Receive:
    """Receives the body within ``REQUEST_TIME``; what comes after it, the end of the connection, has no limit."""
    deadline = asyncio.get_running_loop().time() + REQUEST_TIME
    complete = False

    async def receive_in_time() -> MutableMapping[str, Any]:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            text = f"the request was not there within {REQUEST_TIME:g} s"
            raise ConnectError(Code.DEADLINE_EXCEEDED, text) from None
        complete = not message.get("more_body", False)
        return message

    return receive_in_time


def _writing(send: Send, cross: Headers) -> Send:
    """Sends each part within the write deadline of every stream, and the headers with those for other origins."""

    async def send_within(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *cross]}
        async with asyncio.timeout(WRITE_TIME):
            await send(message)

    return send_within
