"""Whose a call is: the listener that it came over, its certificate, its token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from gossipcontrol.server.access.identity import LOCAL, Identity
from gossipcontrol.server.access.revocation import Revoked, expiry
from gossipcontrol.server.access.table import Table
from gossipcontrol.server.errors import Unauthenticated

AUTHORIZATION = "authorization"
BEARER = "bearer "
TOKEN_BYTES = 512
"""Longest token."""
KNOWN = 10_000
"""Most certificates whose identities are remembered."""


class CallContext(Protocol):
    """What a call shows of its caller, as gRPC's context does."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """The verified certificate, by gRPC's names."""
        ...

    def invocation_metadata(self) -> Any:
        """Pairs of key and value."""
        ...


class Authenticate(Protocol):
    """How the callers of a listener are told apart."""

    def __call__(self, context: Any) -> Identity:
        """The identity of a call; raises Unauthenticated."""
        ...

    def state(self) -> object:
        """What the answer rests on beside the call: while it is equal, so is the answer."""
        ...

    def table(self) -> Table:
        """The table of identities."""
        ...


class Always:
    """Whoever reaches the listener is this identity."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __call__(self, context: Any) -> Identity:
        """The identity."""
        return self._identity

    def state(self) -> object:
        """It never changes."""
        return None

    def table(self) -> Table:
        """It needs none."""
        return _EMPTY


_EMPTY = Table(())
EVERYBODY = Always(LOCAL)
"""The callers of a listener that only those reach who may do everything."""


class BySocket:
    """The identity of whoever may open a Unix socket; ``table`` may change."""

    def __init__(self, table: Callable[[], Table], path: str) -> None:
        self.table = table
        self._path = path

    def __call__(self, context: Any) -> Identity:
        """The identity of the call; raises Unauthenticated."""
        identity = self.table().by_socket(self._path)
        if identity is None:
            raise Unauthenticated(f"no identity has this socket any more: {self._path}")
        return identity

    def state(self) -> object:
        """The table."""
        return self.table()


class ByCertificate:
    """The identity of a client certificate that TLS has verified; ``table`` and ``revoked`` may change."""

    def __init__(self, table: Callable[[], Table], revoked: Callable[[], Revoked]) -> None:
        self.table = table
        self._revoked = revoked
        self._known: dict[bytes, Identity] = {}
        """The identities of certificates, by the table and the list as they were when the first was asked for."""
        self._known_by: tuple[Table, Revoked] | None = None

    def __call__(self, context: CallContext) -> Identity:
        """The identity of the call; raises Unauthenticated."""
        shown = context.auth_context()
        pem = b"".join(shown.get("x509_pem_cert", ()))
        state = self.state()
        if state != self._known_by or len(self._known) >= KNOWN:
            self._known, self._known_by = {}, state
        identity = self._known.get(pem)
        if identity is None:
            identity = self._known[pem] = self._identify(pem, shown)
        return identity

    def _identify(self, pem: bytes, shown: Mapping[str, Sequence[bytes]]) -> Identity:
        if not pem or self._revoked().has(pem):
            raise Unauthenticated("the client certificate is revoked" if pem else "a client certificate is needed")
        names = shown.get("x509_subject_alternative_name") or shown.get("x509_common_name") or ()
        identity = self.table().by_certificate([name.decode(errors="replace") for name in names])
        if identity is None:
            raise Unauthenticated("the client certificate is valid, but no identity here has its name")
        return replace(identity, until=expiry(pem))

    def state(self) -> tuple[Table, Revoked]:
        """The table and the revocation list."""
        return self.table(), self._revoked()


class ByToken:
    """The identity of a bearer token in the call's metadata; ``table`` may change."""

    def __init__(self, table: Callable[[], Table]) -> None:
        self.table = table

    def __call__(self, context: CallContext) -> Identity:
        """The identity of the call; raises Unauthenticated."""
        given = [str(value) for key, value in context.invocation_metadata() or () if key == AUTHORIZATION]
        if len(given) != 1 or not given[0].lower().startswith(BEARER) or len(given[0]) > TOKEN_BYTES:
            raise Unauthenticated("one bearer token is needed in the metadata authorization")
        identity = self.table().by_token(given[0][len(BEARER) :].strip(), datetime.now(UTC))
        if identity is None:
            raise Unauthenticated("the token is unknown, or its time is over")
        return identity

    def state(self) -> object:
        """The table."""
        return self.table()
