"""Which path is answered by what: routes, methods, and the headers that every answer has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import parse_qsl

import grpc
from gossipcontrol.server.errors import GossipControlError
from gossipcontrol.server.status_page.bridge import LoopSilent
from gossipcontrol.server.status_page.server import STREAM, Application, StartResponse
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

PROBES = frozenset({"/healthz", "/readyz"})
"""They say nothing to a stranger, and a probe may use any name."""
QUERY_FIELDS = 16
"""Most fields of a query."""
HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""Nothing but what this service serves is loaded or run, and no other page gets at it."""
STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What gRPC's statuses are called here."""
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; ``environ`` has all of it."""

    client: str
    """Address of the client."""
    query: Mapping[str, str]
    environ: dict[str, Any] = field(default_factory=dict[str, Any])

    def become_stream(self) -> bool:
        """Keep the connection open for events; False: too many are."""
        return bool(self.environ[STREAM]())


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    body: Iterable[bytes]
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = (("Cache-Control", "no-store"),)


Handler = Callable[[Request], Answer]


def text(words: str, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """A sentence, or some."""
    return Answer([f"{words}\n".encode()], status=status)


def as_json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """A value as JSON."""
    return Answer([json.dumps(value, ensure_ascii=False).encode()], "application/json", status)


class Guard(Protocol):
    """Admits requests."""

    def refuse(self, environ: dict[str, Any]) -> Answer | None:
        """The answer to a request that is not admitted; None: it is."""
        ...

    def while_admitted(self, environ: dict[str, Any], body: Iterable[bytes]) -> Iterable[bytes]:
        """A stream, which ends when it would be admitted no more."""
        ...


class Site:
    """A WSGI application. ``routes`` are by path; ``pages`` are applications that answer for themselves.

    Where only this host can connect (``is_local``), a name that is not this host's is refused: a page of the web whose
    name was turned to 127.0.0.1 would read everything (DNS rebinding). ``failed`` gets the path and error of a fault.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        pages: Mapping[str, Application],
        failed: Callable[[str, Exception], None],
        *,
        is_local: bool = False,
        guard: Guard | None = None,
    ) -> None:
        self._failed = failed
        self._guard = guard
        self._routes = routes
        self._pages = pages
        self._is_local = is_local
        paths = sorted([*self._routes, *self._pages])
        rules = [Rule(path, endpoint=path, methods=["GET"]) for path in paths]
        self._map = Map(rules, strict_slashes=True, redirect_defaults=False, merge_slashes=False)
        shown = [path for path in paths if path.count("/") == 1 or path.startswith("/debug")]
        self._missing = f"nothing is here; there is {', '.join(shown)}"

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        head = environ["REQUEST_METHOD"] == "HEAD"
        refused = self._guard.refuse(environ) if self._guard else None
        page, answer = (None, refused) if refused else self._find(environ)
        if page is not None:
            return _head(page, environ, start_response) if head else page(environ, start_response)
        body = answer.body
        headers = [("Content-Type", answer.content_type), *answer.headers, *HEADERS]
        if isinstance(body, list):
            headers.append(("Content-Length", str(sum(map(len, body)))))
        elif self._guard:
            body = self._guard.while_admitted(environ, body)
        start_response(f"{answer.status.value} {answer.status.phrase}", headers)
        return () if head else body

    def _find(self, environ: dict[str, Any]) -> tuple[Application | None, Answer]:
        """The application that answers, or the answer."""
        method = environ["REQUEST_METHOD"]
        try:
            path, _ = self._map.bind("").match(environ["PATH_INFO"] or "/", method)
        except MethodNotAllowed as error:
            allowed = ", ".join(sorted(error.valid_methods or ()))
            refused = text(f"only {allowed} are answered here", HTTPStatus.METHOD_NOT_ALLOWED)
            return None, Answer(refused.body, status=refused.status, headers=(("Allow", allowed),))
        except NotFound:
            return None, text(self._missing, HTTPStatus.NOT_FOUND)
        if path in self._pages:
            return self._pages[path], text("")
        if self._is_local and path not in PROBES and not _names_this_host(environ.get("HTTP_HOST", "")):
            return None, text("ask with the name localhost, or an address", HTTPStatus.MISDIRECTED_REQUEST)
        return None, self._answer(path, environ)

    def _answer(self, path: str, environ: dict[str, Any]) -> Answer:
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)[:QUERY_FIELDS])
        try:
            return self._routes[path](Request(str(environ.get("REMOTE_ADDR", "")), query, environ))
        except GossipControlError as error:
            return text(str(error), STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR))
        except LoopSilent as error:
            return text(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - whatever a page raises, the service goes on
            self._failed(path, error)
            return text("the service failed; see its log", HTTPStatus.INTERNAL_SERVER_ERROR)


def _names_this_host(host: str) -> bool:
    """Whether a Host header names an address or localhost, which no foreign page can have as its name."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower()
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _head(page: Application, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """What GET would answer, without the body."""
    answers: list[tuple[str, list[tuple[str, str]]]] = []

    def keep(status: str, headers: list[tuple[str, str]]) -> None:
        answers.append((status, headers))

    length = sum(map(len, page({**environ, "REQUEST_METHOD": "GET"}, keep)))
    [(status, headers)] = answers
    start_response(status, [*headers, ("Content-Length", str(length))])
    return ()
