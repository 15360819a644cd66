"""Who may read the pages where other hosts reach them: whoever shows a token whose identity reads every store."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from gossipcontrol.server.access.caller import TOKEN_BYTES
from gossipcontrol.server.access.identity import Identity, Role, Scope
from gossipcontrol.server.access.table import Table
from gossipcontrol.server.errors import PermissionDenied, Unauthenticated
from gossipcontrol.server.status_page.site import PROBES, Answer, text

CHALLENGES = (
    ("WWW-Authenticate", 'Bearer realm="gossipcontrol"'),
    ("WWW-Authenticate", 'Basic realm="gossipcontrol: any name, the token as password", charset="UTF-8"'),
)
"""Scrapers send a bearer token; a browser asks its user, and sends the token as a password."""
DEBUG = "/debug"

OnDenied = Callable[[str, str, str, PermissionDenied | Unauthenticated], None]
"""Gets the path, the client, the identity (empty: not known) and the error of a request that was denied."""


class PageGuard:
    """Admits requests; ``table`` may change. Called by the threads of requests."""

    def __init__(self, table: Callable[[], Table], denied: OnDenied) -> None:
        self._table = table
        self._denied = denied

    def refuse(self, environ: dict[str, Any]) -> Answer | None:
        """The answer to a request that is not admitted; None: it is."""
        path = environ["PATH_INFO"] or "/"
        if path in PROBES:
            return None
        identity = self._identity(environ)
        error = _error(identity, path)
        if error is None:
            return None
        client = f"http:{environ.get('REMOTE_ADDR', '')}"
        self._denied(path, client, identity.name if identity else "", error)
        if isinstance(error, PermissionDenied):
            return text(str(error), HTTPStatus.FORBIDDEN)
        refused = text(str(error), HTTPStatus.UNAUTHORIZED)
        return Answer(refused.body, status=refused.status, headers=(*refused.headers, *CHALLENGES))

    def while_admitted(self, environ: dict[str, Any], body: Iterable[bytes]) -> Iterator[bytes]:
        """A stream, which ends when its token is over or left out."""
        try:
            for part in body:
                if _error(self._identity(environ), environ["PATH_INFO"]) is not None:
                    return
                yield part
        finally:
            if isinstance(body, Generator):
                body.close()

    def _identity(self, environ: dict[str, Any]) -> Identity | None:
        token = _token(environ.get("HTTP_AUTHORIZATION", ""))
        return self._table().by_token(token, datetime.now(UTC)) if token else None


def _token(authorization: str) -> str:
    """The token of the header, as a bearer token or as the password of a browser; empty: there is none."""
    kind, _, given = authorization.strip().partition(" ")
    given = given.strip()
    if len(given) > 2 * TOKEN_BYTES:
        return ""
    if kind.lower() == "bearer":
        return given
    if kind.lower() != "basic":
        return ""
    try:
        return b64decode(given, validate=True).decode().partition(":")[2]
    except (Error, UnicodeDecodeError):
        return ""


def _error(identity: Identity | None, path: str) -> PermissionDenied | Unauthenticated | None:
    """Why this identity may not read a page; pages show the stores of everybody."""
    if identity is None:
        return Unauthenticated("a token is needed, which is known and whose time is not over")
    if path.startswith(DEBUG):
        is_admitted = Role.ADMIN in identity.roles and all(identity.owns_all(scope) for scope in Scope)
        return None if is_admitted else PermissionDenied("", "needs the role admin, of everything")
    reads = not identity.roles.isdisjoint({Role.READER, Role.ADMIN}) and identity.owns_all(Scope.STORES)
    return None if reads else PermissionDenied("", 'needs the role reader or admin, of all stores (stores = ["*"])')
