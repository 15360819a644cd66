"""The one place where a call is admitted: whose it is, whether it may be made, whether its fields are its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gossipcontrol.server.access.caller import Authenticate
from gossipcontrol.server.access.identity import LOCAL, Identity
from gossipcontrol.server.access.ownership import Check, check_of, peers_of, stores_of
from gossipcontrol.server.access.quota import Quota, Quotas
from gossipcontrol.server.access.visibility import leave_out
from gossipcontrol.server.errors import PermissionDenied, Unauthenticated


def now() -> datetime:
    """The wall clock, by which tokens and certificates are over."""
    return datetime.now(UTC)


class Caller:
    """Whose a call is. A stream that lasts asks again: whoever is revoked or left out meanwhile is heard no more."""

    def __init__(self, authenticate: Authenticate, context: Any, quotas: Quotas) -> None:
        self._authenticate = authenticate
        self._context = context
        self._state: object = authenticate.state()
        self._identity = authenticate(context)
        self.quota: Quota | None = quotas.of(self._identity)
        """Its use of the limits; None: it has none."""

    @property
    def identity(self) -> Identity:
        """The identity, by the files as they are now; raises Unauthenticated."""
        state = self._authenticate.state()
        if state != self._state:
            self._identity, self._state = self._authenticate(self._context), state
        until = self._identity.until
        if until is not None and until <= now():
            raise Unauthenticated("the time of the token or certificate is over")
        return self._identity

    def names(self, peer_id: str) -> bool:
        """Whether an id may be named in the caller's fleet."""
        return self._authenticate.table().is_of(self._identity.fleet, peer_id)

    @property
    def until(self) -> datetime | None:
        """When what shows its identity is over."""
        return self._identity.until


class Gate:
    """Admits the calls of one method that come over one listener."""

    def __init__(self, method: str, authenticate: Authenticate, quotas: Quotas) -> None:
        self._authenticate = authenticate
        self._quotas = quotas
        self._stores = stores_of(method)
        self._peers = peers_of(method)
        self._check: Check = check_of(method)
        self._leave_out: Callable[[Identity, Any], None] | None = leave_out(method)

    def caller(self, context: Any) -> Caller:
        """Whose the call is; raises Unauthenticated."""
        return Caller(self._authenticate, context, self._quotas)

    def check(self, caller: Caller, request: Any) -> None:
        """Raise PermissionDenied if the request has what is not the caller's, Overloaded if it names too much."""
        identity = caller.identity
        if identity is LOCAL:
            return
        denial = self._check(identity, request)
        if denial is not None:
            raise PermissionDenied(denial.field, denial.why)
        if identity.fleet:
            for field, peer_id in self._peers(request):
                if not caller.names(peer_id):
                    raise PermissionDenied(field, f"is not of the fleet of {identity.name}")
        if caller.quota is not None:
            caller.quota.name_stores(self._stores(request), self._quotas.is_store)

    def show(self, identity: Identity, answer: Any) -> Any:
        """The answer with what the identity may read of it; raises NotFound if that is nothing of what was asked."""
        if self._leave_out is not None and identity is not LOCAL:
            self._leave_out(identity, answer)
        return answer
