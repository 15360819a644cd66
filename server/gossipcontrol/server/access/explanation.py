"""The table of identities in words: what each row allows, and why a call is allowed or denied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gossipcontrol.server.access.identity import Identity, Scope
from gossipcontrol.server.access.ownership import CALLS, deny, list_roles
from gossipcontrol.server.access.table import Row, Table


def explain_table(table: Table) -> Iterator[str]:
    """A line for each row."""
    for row in table.rows:
        one = row.identity
        scopes = "; ".join(f"{scope.value} {', '.join(getattr(one, scope.value)) or 'none'}" for scope in Scope)
        roles = ", ".join(sorted(role.value for role in one.roles))
        limits = "".join(f"; at most {most} {key}" for key, most in one.limits)
        fleet = f"; fleet {one.fleet}" if one.fleet else ""
        yield f"{one.name}: {_shown_by(row)}: {roles}; {scopes}{fleet}{limits}"


def _shown_by(row: Row) -> str:
    ways = [f"certificate {pattern}" for pattern in row.certificates]
    if row.tokens:
        ways.append(f"{len(row.tokens)} token{'s' if len(row.tokens) > 1 else ''}")
    for one in row.sockets:
        group = f", group {one.group}" if one.group else ""
        ways.append(f"socket {one.path} (mode {one.mode:04o}{group})")
    return ", ".join(ways)


class UnknownCall(Exception):
    """There is no such call."""


def explain_call(identity: Identity, rpc: str, values: Mapping[Scope, str]) -> tuple[bool, str]:
    """(whether it is allowed, why) for a call of an identity that names these ids; raises UnknownCall."""
    found = [path for path in CALLS if path.rpartition("/")[2] == rpc]
    if not found:
        raise UnknownCall(f"{rpc} is none of {', '.join(sorted(path.rpartition('/')[2] for path in CALLS))}")
    [path] = found
    call = CALLS[path]
    named = ((field, right, values.get(right.scope, "")) for field, right in call.owned.items())
    denial = deny(identity, call, named)
    if denial is None:
        return True, identity.line
    if denial.right is None:
        return False, f"{rpc} {denial.why} ({identity.line})"
    scope, roles = denial.right.scope, list_roles(denial.right.roles)
    have = ", ".join(getattr(identity, scope.value)) or "none"
    needed = f"needs {values[scope]} in the {scope.value} of {roles}"
    return False, f"{denial.field}: {needed}, and has {have} ({identity.line})"
