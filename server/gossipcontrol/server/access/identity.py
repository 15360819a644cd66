"""An identity: its roles, and the nodes, hosts and stores for which it may use them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from fnmatch import fnmatchcase
from functools import lru_cache

FLEET_MARK = "."
"""Stands after the name of a fleet at the beginning of its ids."""
ANY = ("*",)
"""The pattern that every id matches."""
REMEMBERED = 10_000
"""Ids of which it is remembered whether they match, over all identities."""


class Role(Enum):
    """What an identity may do in its scope."""

    AGENT = "agent"
    """Speak for nodes: attach them, report for them, ask for their rejoins."""
    WATCHER = "watcher"
    """Report changes of hosts."""
    READER = "reader"
    """Read stores."""
    ADMIN = "admin"
    """All of these, and forget, cancel, change members."""


class Scope(Enum):
    """Of what an id names one."""

    NODES = "nodes"
    HOSTS = "hosts"
    STORES = "stores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who calls. Scopes are shell patterns (``fnmatch``), of which an id must match one; upper case differs."""

    name: str
    roles: frozenset[Role]
    nodes: Sequence[str] = ()
    hosts: Sequence[str] = ()
    stores: Sequence[str] = ()
    fleet: str = ""
    """The fleet to which its scopes are bound; empty: they are not."""
    limits: Sequence[tuple[str, int]] = ()
    """Limits of its own, by name (``IdentityLimits``)."""
    until: datetime | None = field(default=None, compare=False)
    """When what shows it is over: its token or certificate."""
    line: str = field(default="", compare=False)
    """Where the identity is granted this, for people."""

    def owns(self, roles: Collection[Role], scope: Scope, value: str) -> bool:
        """Whether one of these roles is had, and the id is in the scope."""
        return not self.roles.isdisjoint(roles) and _matches(tuple(getattr(self, scope.value)), value)

    @property
    def account(self) -> str:
        """The name under which its work is counted; empty: that of each connection."""
        return "" if self is LOCAL else self.name

    def owns_all(self, scope: Scope) -> bool:
        """Whether the scope has no bounds."""
        return "*" in getattr(self, scope.value)


@lru_cache(REMEMBERED)
def _matches(patterns: tuple[str, ...], value: str) -> bool:
    return any(pattern == "*" or fnmatchcase(value, pattern) for pattern in patterns)


LOCAL = Identity(
    name="local", roles=frozenset({Role.ADMIN}), nodes=ANY, hosts=ANY, stores=ANY, line="listen.socket and listen.tcp"
)
"""Who calls over the service's own socket or loopback port: whoever reaches them may do everything."""
