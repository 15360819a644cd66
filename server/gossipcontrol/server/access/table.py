"""The table of identities: a TOML file with a row for each, and how a certificate or token finds its row."""

from __future__ import annotations

import hmac
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

from gossipcontrol.server.access.identity import ANY, FLEET_MARK, Identity, Role, Scope
from gossipcontrol.server.access.identity_limits import LIMITS

NAME = "{name}"
"""Stands in a scope for the name in the caller's certificate, so that one row gives each of many its own."""
PATTERNS = 1000
"""Most patterns of one scope."""
PATTERN_BYTES = 128
NEEDED = {Role.AGENT: (Scope.NODES, Scope.STORES), Role.WATCHER: (Scope.HOSTS,), Role.READER: (Scope.STORES,)}
"""Scopes that a row of a role must name; an admin's default is everything."""
_KEYS = ("name", "roles", "nodes", "hosts", "stores", "certificates", "tokens", "sockets", "limits", "fleet")
_TOKEN_KEYS = ("sha256", "until")
_TOKEN_SHAPE = "{sha256 = '...', until = 2027-01-31T00:00:00Z}"
_SOCKET_KEYS = ("path", "group", "mode")
_SOCKET_SHAPE = "{path = '/run/...', group = '...', mode = '0660'}"
_EVERY_FLEET = "*"
_FLEET = re.compile("[a-z0-9][a-z0-9-]{0,31}")
_MOST = 2**31 - 1
"""Largest limit."""
_MODE = re.compile("0?[0-7]{3}")


class TableError(Exception):
    """The table has mistakes; each text names its row and key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class Token(NamedTuple):
    """A bearer token, of which only the digest is kept."""

    digest: str
    """SHA-256 of the token, 64 hexadecimal digits."""
    until: datetime | None


class RoleSocket(NamedTuple):
    """A Unix socket, whose callers are told apart by who may open its file."""

    path: str
    group: str
    """Name of the file's group; empty: that of the service."""
    mode: int
    """Permissions of the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One identity, and what shows that a caller is it."""

    identity: Identity
    certificates: Sequence[str] = ()
    """Patterns of names in certificates: alternative names of the subject, else its common name."""
    tokens: Sequence[Token] = ()
    sockets: Sequence[RoleSocket] = ()
    """Unix sockets whose callers it is."""


def digest_of(token: str) -> str:
    """The digest under which a token stands in the table."""
    return sha256(token.encode()).hexdigest()


class Table:
    """Rows in the order of the file; the first that fits counts."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self._fleets = {one: fleet for _, one, fleet in _ids_of_fleets(self.rows)}
        """Fleets of the ids that rows name one by one."""

    def is_of(self, fleet: str, value: str) -> bool:
        """Whether an id may be named in a fleet: it begins with its name, or is nobody else's and names no fleet."""
        if value in self._fleets:
            return self._fleets[value] == fleet
        return FLEET_MARK not in value or value.startswith(fleet + FLEET_MARK)

    def by_certificate(self, names: Sequence[str]) -> Identity | None:
        """The identity of a verified certificate with these names."""
        for row in self.rows:
            for pattern in row.certificates:
                for name in names:
                    if fnmatchcase(name, pattern):
                        return _named(row.identity, name)
        return None

    def by_token(self, token: str, now: datetime) -> Identity | None:
        """The identity of a bearer token; every row is compared, in a time that tells nothing of the tokens."""
        given = digest_of(token)
        found: Identity | None = None
        for row in self.rows:
            for one in row.tokens:
                is_it = hmac.compare_digest(one.digest, given)
                if is_it and found is None and (one.until is None or now < one.until):
                    found = replace(row.identity, until=one.until) if one.until else row.identity
        return found

    def by_socket(self, path: str) -> Identity | None:
        """The identity of whoever connects to a Unix socket."""
        return next((row.identity for row in self.rows for one in row.sockets if one.path == path), None)

    def by_name(self, name: str) -> Identity | None:
        """The identity of this name, as ``access explain`` asks for it; a name of a certificate is one too."""
        return next((row.identity for row in self.rows if row.identity.name == name), None) or self.by_certificate(
            [name]
        )

    @property
    def sockets(self) -> tuple[RoleSocket, ...]:
        """Every Unix socket that a row names."""
        return tuple(one for row in self.rows for one in row.sockets)


def _named(identity: Identity, name: str) -> Identity:
    """A row's identity for one certificate: named after it, and with its name in the scopes."""
    own = escape(name)

    def named(patterns: Sequence[str]) -> tuple[str, ...]:
        return tuple(pattern.replace(NAME, own) for pattern in patterns)

    return replace(
        identity, name=name, nodes=named(identity.nodes), hosts=named(identity.hosts), stores=named(identity.stores)
    )


def read_table(path: Path) -> Table:
    """Read the file; raises TableError with every mistake."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError([f"{path}: is not TOML: {error}"]) from error
    mistakes = [f"{path}: {key}: unknown; rows are [[identity]]" for key in document if key != "identity"]
    given = document.get("identity", [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in cast("list[object]", given)):
        raise TableError([*mistakes, f"{path}: identity: must be rows, [[identity]]"])
    tables = cast("list[dict[str, Any]]", given)
    rows = [_Reader(f"{path}, identity {number}", row, mistakes).row() for number, row in enumerate(tables, 1)]
    mistakes += _check_fleets(path, rows, tables)
    names = [row.identity.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    mistakes += [f"{path}: two identities are named {name}" for name in twice]
    if mistakes:
        raise TableError(mistakes)
    return Table(rows)


def _is_id(pattern: str) -> bool:
    """Whether a pattern is one id, such as a key."""
    return not set(pattern) & set("*?[]{}")


def _ids_of_fleets(rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    """The (scope, id, fleet) of each id that a row names by itself."""
    for row in rows:
        if fleet := row.identity.fleet:
            for scope in Scope:
                yield from ((scope.value, one, fleet) for one in getattr(row.identity, scope.value) if _is_id(one))


def _check_fleets(path: Path, rows: Sequence[Row], tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows that say nothing of fleets where others do, and ids that rows of two fleets name."""
    if all("fleet" not in one for one in tables):
        return []
    where = "fleet: must be given where other rows have one; '*' is all fleets"
    both = zip(rows, tables, strict=True)
    mistakes = [f"{row.identity.line}: {where}" for row, one in both if "fleet" not in one]
    fleets = Counter((scope, one) for scope, one, _ in set(_ids_of_fleets(rows)))
    twice = sorted(one for one, count in fleets.items() if count > 1)
    return [*mistakes, *(f"{path}: {scope}: {one} is in two fleets" for scope, one in twice)]


class _Reader:
    """Reads one row; mistakes are added to the list."""

    def __init__(self, where: str, row: Mapping[str, Any], mistakes: list[str]) -> None:
        self._where = where
        self._row = row
        self._mistakes = mistakes
        self._fleet = ""

    def row(self) -> Row:
        """The row, with what could be read of it."""
        for key in self._row:
            if key not in _KEYS:
                self._wrong(key, f"unknown key; known are {', '.join(_KEYS)}")
        name, roles = self._row.get("name"), self._roles()
        if not isinstance(name, str) or not name or len(name.encode()) > PATTERN_BYTES:
            self._wrong("name", f"must be given: 1 to {PATTERN_BYTES} bytes")
            name = ""
        certificates = self._texts("certificates")
        tokens = tuple(map(self._token, self._tables("tokens", _TOKEN_SHAPE, _TOKEN_KEYS)))
        sockets = tuple(map(self._socket, self._tables("sockets", _SOCKET_SHAPE, _SOCKET_KEYS)))
        if not (certificates or tokens or sockets):
            self._wrong("name", "nobody can be it: certificates, tokens or sockets must be given")
        has_names = not tokens and not sockets
        self._fleet = self._read_fleet(certificates)
        identity = Identity(
            name=str(name),
            roles=roles,
            nodes=self._scope(Scope.NODES, roles, has_names=has_names),
            hosts=self._scope(Scope.HOSTS, roles, has_names=has_names),
            stores=self._scope(Scope.STORES, roles, has_names=has_names),
            fleet=self._fleet,
            limits=self._limits(),
            line=self._where,
        )
        return Row(identity, certificates, tokens, sockets)

    def _wrong(self, key: str, what: str) -> None:
        self._mistakes.append(f"{self._where}: {key}: {what}")

    def _roles(self) -> frozenset[Role]:
        given = self._texts("roles")
        known = {role.value: role for role in Role}
        for one in given:
            if one not in known:
                self._wrong("roles", f"{one!r} is none of {', '.join(known)}")
        if not given:
            self._wrong("roles", f"must be given: some of {', '.join(known)}")
        return frozenset(known[one] for one in given if one in known)

    def _scope(self, scope: Scope, roles: frozenset[Role], *, has_names: bool) -> tuple[str, ...]:
        patterns = self._texts(scope.value)
        needing = [role.value for role in roles if scope in NEEDED.get(role, ())]
        if not patterns and Role.ADMIN in roles:
            patterns = ANY
        if not patterns and needing:
            self._wrong(scope.value, f"must be given for the role {needing[0]}; ['*'] is all of them")
        if any(NAME in pattern for pattern in patterns) and not has_names:
            self._wrong(scope.value, f"{NAME} is the name in a certificate: no tokens and no sockets beside it")
        return tuple(self._within_fleet(scope, pattern) for pattern in patterns) if self._fleet else patterns

    def _read_fleet(self, certificates: Sequence[str]) -> str:
        given = self._row.get("fleet", _EVERY_FLEET)
        if given == _EVERY_FLEET:
            return ""
        if not isinstance(given, str) or not _FLEET.fullmatch(given):
            self._wrong("fleet", "must be lower-case letters, digits and hyphens, at most 32, or '*'")
            return ""
        for one in certificates:
            if not one.startswith(given + FLEET_MARK):
                self._wrong("certificates", f"{one} is not of the fleet {given}: begin it with {given}{FLEET_MARK}")
        return given

    def _within_fleet(self, scope: Scope, pattern: str) -> str:
        """A pattern that matches ids of the fleet only."""
        begin = self._fleet + FLEET_MARK
        if pattern == "*":
            return f"{begin}*"
        if not pattern.startswith((begin, NAME)) and not _is_id(pattern):
            self._wrong(scope.value, f"{pattern} reaches beyond the fleet: begin it with {begin}, or name one id")
        if FLEET_MARK in pattern and _is_id(pattern) and not pattern.startswith(begin):
            self._wrong(scope.value, f"{pattern} is not of the fleet: begin it with {begin}")
        return pattern

    def _limits(self) -> tuple[tuple[str, int], ...]:
        given = self._row.get("limits", {})
        if not isinstance(given, dict):
            self._wrong("limits", "must be a table, such as {watchers = 100}")
            return ()
        limits = cast("dict[str, object]", given)
        for key, value in limits.items():
            if key not in LIMITS:
                self._wrong("limits", f"unknown key {key}; known are {', '.join(LIMITS)}")
            elif type(value) is not int or not 0 < value <= _MOST:
                self._wrong("limits", f"{key} must be a whole number from 1 to {_MOST}")
        return tuple((key, value) for key, value in limits.items() if isinstance(value, int))

    def _texts(self, key: str) -> tuple[str, ...]:
        given = self._row.get(key, [])
        if not isinstance(given, list) or len(cast("list[object]", given)) > PATTERNS:
            self._wrong(key, f"must be a list of at most {PATTERNS} texts")
            return ()
        texts = cast("list[object]", given)
        if not all(isinstance(one, str) and 0 < len(one.encode()) <= PATTERN_BYTES for one in texts):
            self._wrong(key, f"must be texts of 1 to {PATTERN_BYTES} bytes")
            return ()
        return tuple(cast("list[str]", texts))

    def _tables(self, key: str, shape: str, known: Sequence[str]) -> list[dict[str, Any]]:
        """A list of tables with known keys."""
        given = self._row.get(key, [])
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in cast("list[object]", given)):
            self._wrong(key, f"must be a list of {shape}")
            return []
        tables = cast("list[dict[str, Any]]", given)
        for one in sorted({one for table in tables for one in table if one not in known}):
            self._wrong(key, f"unknown key {one}; known are {', '.join(known)}")
        return tables

    def _socket(self, table: Mapping[str, Any]) -> RoleSocket:
        path, group, mode = table.get("path"), table.get("group", ""), table.get("mode", "0600")
        if not isinstance(path, str) or not path.startswith("/"):
            self._wrong("sockets", "path must be given, and be absolute")
        if not isinstance(group, str):
            self._wrong("sockets", "group must be the name of a group")
        if not isinstance(mode, str) or not _MODE.fullmatch(mode):
            self._wrong("sockets", "mode must be octal digits in quotes, such as '0660'")
            mode = "0600"
        return RoleSocket(str(path), str(group), int(mode, 8))

    def _token(self, token: Mapping[str, Any]) -> Token:
        digest, until = token.get("sha256"), token.get("until")
        if not isinstance(digest, str) or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            self._wrong("tokens", "sha256 must be 64 hexadecimal digits, as gossipcontrol-server token prints them")
            digest = ""
        if until is not None and not (isinstance(until, datetime) and until.tzinfo is not None):
            self._wrong("tokens", "until must be an instant with its offset, such as 2027-01-31T00:00:00Z")
            until = None
        return Token(str(digest), until.astimezone(UTC) if isinstance(until, datetime) else None)
