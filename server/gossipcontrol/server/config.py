"""The configuration: frozen dataclasses, and their reader for TOML and environment variables."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, cast, get_type_hints

from gossipcontrol.server.access.identity_limits import IdentityLimits
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.system.home import is_root, user_directory, user_name

PREFIX = "GOSSIPCONTROL_"
HAS_SOCKETS = sys.platform != "win32"
"""Whether gRPC has Unix sockets on this system."""
DEFAULT_TCP = "" if HAS_SOCKETS else "127.0.0.1:7420"
"""Every user of a machine reaches its loopback, and only the owner a Unix socket."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


def default_state(environ: Mapping[str, str] | None = None) -> str:
    """The default path of the state: in the system's state directory for root, else in the user's; empty: none."""
    return _default("/var/lib", "XDG_STATE_HOME", "state.db", environ)


def default_socket(environ: Mapping[str, str] | None = None) -> str:
    """The default path of the Unix socket: in the system's run directory for root, else in the user's; empty: none."""
    return _default("/run", "XDG_RUNTIME_DIR", "gossipcontrol.sock", environ) if HAS_SOCKETS else ""


def _default(system: str, variable: str, name: str, environ: Mapping[str, str] | None) -> str:
    base = Path(system) if is_root() else user_directory(variable, environ)
    return "" if base is None else str(base / "gossipcontrol" / name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the service listens."""

    socket: str = field(default_factory=default_socket)
    """Path of the Unix socket, mode 0600; empty: none."""
    tcp: str = DEFAULT_TCP
    """Loopback host and port, where every user of the machine may do everything; empty: none."""
    tls: str = ""
    """Host and port for clients with a certificate (mutual TLS); empty: none."""
    tls_tokens: str = ""
    """Host and port for clients with a bearer token (TLS); empty: none."""
    http: str = ""
    """Loopback host and port of HTTP with JSON, which needs ``gossipcontrol[http]``; empty: none."""
    http_tokens: str = ""
    """Host and port of HTTP with JSON over TLS for clients with a bearer token; empty: none."""
    http_origins: str = ""
    """Web pages that may call over HTTP: origins such as ``http://localhost:5173``, with commas; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call what over TLS and over sockets of their own. All files are read again when they change."""

    identities: str = ""
    """Path of the table of identities, in TOML; empty: there are none."""
    certificate: str = ""
    """Path of the service's certificate chain, in PEM."""
    key: str = ""
    """Path of its key, in PEM."""
    authority: str = ""
    """Path of the certificates that sign those of clients, in PEM; for ``listen.tls``."""
    revoked: str = ""
    """Path of the authority's revocation list, in PEM; empty: none is revoked. Needs ``gossipcontrol[tls]``."""
    verifier: str = "ed25519"
    """Of signatures of intentions: ``ed25519``, which needs ``gossipcontrol[tls]``, or an application's own, as
    ``module:callable``; empty: signatures prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The page that Prometheus scrapes."""

    address: str = "127.0.0.1:9742"
    """Host and port of the HTTP page; empty: none."""
    stores: int = 50
    """Most stores with a label of their own; the others are summed as ``other``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One line per decision, on standard error."""

    format: str = "logfmt"
    """``logfmt`` or ``json``."""
    level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Spans of calls, for an OpenTelemetry collector; they need ``gossipcontrol[otel]``."""

    endpoint: str = ""
    """URL of the collector's OTLP over gRPC, such as ``http://127.0.0.1:4317``; empty: no traces."""
    ratio: float = 1.0
    """Share of the calls with a span, 0 to 1, where the caller has not decided it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Retries of failed rejoins."""

    attempts: int = 5
    """Most attempts of one rejoin."""
    base: float = 1.0
    """Upper limit of the first wait in seconds; it doubles with every attempt."""
    cap: float = 60.0
    """Upper limit of every wait in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of calls."""

    message_bytes: int = 4 * 1024 * 1024
    """Largest message; 100 reports of 200 peers each with 64-byte ids are 2 MB."""
    concurrent_calls: int = 10_000
    """Most concurrent calls on one connection."""
    watchers: int = 1000
    """Most concurrent WatchPeers calls."""
    drain: float = 3.0
    """Seconds that a stop gives to calls under way."""
    memory: int = 0
    """Bytes that all books may take; 0: a quarter of the machine's memory or of the control group's limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the state is stored, and what it survives."""

    backend: str = "sqlite"
    """``sqlite``: acknowledged once in the file; ``etcd``: once on most members; ``memory``: lost with the process."""
    path: str = field(default_factory=default_state)
    """The SQLite file; its directory is created if needed."""
    durability: str = "process"
    """What an acknowledged trigger survives: ``process``, a crash of the service; ``full``, a power failure too."""
    max_bytes: int = 1 << 30
    """Largest size of the file; when full, the service refuses triggers, and from half on, intentions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Etcd:
    """The etcd that replicas share, for ``state.backend = "etcd"``: one replica serves, the others stand by."""

    endpoints: str = ""
    """Its members, ``HOST:PORT``, with commas."""
    cell: str = "default"
    """Name of the state that the replicas share; services with states of their own need other names."""
    address: str = ""
    """Where clients reach this replica, which standbys tell them while it serves; empty: they do not."""
    authority: str = ""
    """Path of the certificates that sign those of etcd, in PEM; empty: no TLS."""
    certificate: str = ""
    """Path of this replica's certificate chain for etcd, in PEM; empty: none."""
    key: str = ""
    """Path of its key, in PEM."""
    user: str = ""
    """Name of a user of etcd; empty: etcd asks for none."""
    password_file: str = ""
    """Path of a file with the user's password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings."""

    listen: Listen = field(default_factory=Listen)
    access: Access = field(default_factory=Access)
    metrics: Metrics = field(default_factory=Metrics)
    log: Log = field(default_factory=Log)
    traces: Traces = field(default_factory=Traces)
    retry: Retry = field(default_factory=Retry)
    limits: Limits = field(default_factory=Limits)
    identity_limits: IdentityLimits = field(default_factory=IdentityLimits)
    state: State = field(default_factory=State)
    etcd: Etcd = field(default_factory=Etcd)
    deciding: Parameters = field(default_factory=Parameters)
    liveness: LivenessParameters = field(default_factory=LivenessParameters)
    knowledge: KnowledgeParameters = field(default_factory=KnowledgeParameters)


class ConfigError(Exception):
    """The configuration has mistakes; each text names its key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def read_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read a TOML file and ``GOSSIPCONTROL_SECTION_KEY`` variables, which win; raises ConfigError."""
    environ = os.environ if environ is None else environ
    mistakes: list[str] = []
    document = _load(path, mistakes) if path else {}
    sections = get_type_hints(Config)
    mistakes += [f"{key}: unknown section; known are {', '.join(sections)}" for key in document if key not in sections]
    mistakes += _unknown_variables(environ, sections)
    built = {name: _section(name, kind, document.get(name, {}), environ, mistakes) for name, kind in sections.items()}
    mistakes += _homeless(document, environ, built)
    mistakes += _unguarded(built["listen"], built["access"])
    mistakes += _unshared(built["state"], built["etcd"])
    if mistakes:
        raise ConfigError(mistakes)
    return Config(**built)


def section(name: str, kind: type[Any], table: object, mistakes: list[str]) -> Any:
    """One section of a document, whatever the environment says; mistakes are added to the list."""
    return _section(name, kind, table, {}, mistakes)


class Override(NamedTuple):
    """A value that the environment gives, and what is wrong with the value that it hides in the file."""

    key: str
    variable: str
    value: str
    mistakes: Sequence[str]


def overrides(path: Path, environ: Mapping[str, str] | None = None) -> list[Override]:
    """The keys that the environment decides; the file must be readable."""
    environ = os.environ if environ is None else environ
    document = _load(path, [])
    found: list[Override] = []
    for name, kind in get_type_hints(Config).items():
        for key in fields(kind):
            variable = f"{PREFIX}{name}_{key.name}".upper()
            if variable not in environ:
                continue
            hidden = {one: value for one, value in _table(document, name).items() if one == key.name}
            mistakes: list[str] = []
            _section(name, kind, hidden, {}, mistakes)
            found.append(Override(f"{name}.{key.name}", variable, environ[variable], mistakes))
    return found


def _unknown_variables(environ: Mapping[str, str], sections: Mapping[str, type[Any]]) -> list[str]:
    """Variables of a known section without such a key, because a misspelt one would be ignored silently."""
    known = {f"{PREFIX}{name}_{one.name}".upper() for name, kind in sections.items() for one in fields(kind)}
    prefixes = tuple(f"{PREFIX}{name}_".upper() for name in sections)
    return [f"{name}: unknown variable" for name in sorted(environ) if name.startswith(prefixes) and name not in known]


def _homeless(document: Mapping[str, Any], environ: Mapping[str, str], built: Mapping[str, Any]) -> list[str]:
    """Paths that nothing names, for a user without a home directory to put them in."""
    wanted = [("listen", "socket", "XDG_RUNTIME_DIR")] if HAS_SOCKETS else []
    if built["state"].backend == "sqlite":
        wanted.append(("state", "path", "XDG_STATE_HOME"))
    return [
        f"{section}.{key}: user {user_name()} has no home directory (HOME is not set, and the user database does "
        f"not know the user): set {section}.{key}, {PREFIX}{section.upper()}_{key.upper()} or {variable}"
        for section, key, variable in wanted
        if not getattr(built[section], key)
        and f"{PREFIX}{section}_{key}".upper() not in environ
        and key not in _table(document, section)
    ]


def _unguarded(listen: Listen, access: Access) -> list[str]:
    """What a listener with TLS needs and has not."""
    own = ("identities", "certificate", "key")
    needs = {"tls": (*own, "authority"), "tls_tokens": own, "http_tokens": own}
    mistakes = [
        f"access.{key}: must be given for listen.{name}"
        for name, keys in needs.items()
        for key in keys
        if getattr(listen, name) and not getattr(access, key)
    ]
    if access.revoked and not access.authority:
        mistakes.append("access.authority: must be given for access.revoked, whose signature it verifies")
    return list(dict.fromkeys(mistakes))


def _unshared(state: State, etcd: Etcd) -> list[str]:
    """What replicas need and have not."""
    needed = {"endpoints": state.backend == "etcd", "key": etcd.certificate, "certificate": etcd.key}
    needed |= {"authority": etcd.certificate, "password_file": etcd.user}
    because = {"endpoints": 'state.backend = "etcd"', "key": "etcd.certificate", "certificate": "etcd.key"}
    because |= {"authority": "etcd.certificate", "password_file": "etcd.user"}
    return [
        f"etcd.{key}: must be given for {because[key]}"
        for key, is_needed in needed.items()
        if is_needed and not getattr(etcd, key)
    ]


def _table(document: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    table = document.get(section, {})
    return cast("Mapping[str, Any]", table) if isinstance(table, dict) else {}


def _load(path: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{path}: is not TOML: {error}")
    return {}


def _section(name: str, kind: type[Any], table: object, environ: Mapping[str, str], mistakes: list[str]) -> Any:
    """One section; mistakes are added to the list, and defaults replace wrong values."""
    if not isinstance(table, dict):
        mistakes.append(f"{name}: must be a table, [{name}]")
    given = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
    hints = get_type_hints(kind)
    known = [one.name for one in fields(kind)]
    mistakes += [f"{name}.{key}: unknown key; known are {', '.join(known)}" for key in given if key not in known]
    values: dict[str, Any] = {}
    for key in known:
        where, variable = f"{name}.{key}", f"{PREFIX}{name}_{key}".upper()
        found: list[str] = []
        if variable in environ:
            where = variable
            values[key] = _from_text(variable, environ[variable], hints[key], found)
        elif key in given:
            values[key] = _from_toml(where, given[key], hints[key], found)
        if key in values and not found:
            found = _check(name, key, where, values[key])
        if found:
            mistakes += found
            del values[key]
        if key not in values and (name, key) in _PATHS:
            values[key] = _PATHS[name, key](environ)
    try:
        return kind(**values)
    except ValueError as error:
        mistakes.append(f"{name}.{error}")
        return kind()


def _from_text(where: str, text: str, kind: type[Any], mistakes: list[str]) -> Any:
    try:
        return kind(text)
    except ValueError:
        mistakes.append(f"{where}: {text!r} is not {_TYPE_NAMES[kind]}")
        return None


def _from_toml(where: str, value: object, kind: type[Any], mistakes: list[str]) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        mistakes.append(f"{where}: {value!r} is not {_TYPE_NAMES[kind]}")
        return None
    return value


_PATHS = {("listen", "socket"): default_socket, ("state", "path"): default_state}
"""Defaults that the environment decides."""
_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number"}


def _check(section: str, key: str, where: str, value: Any) -> list[str]:
    """The mistakes of a single value of the right type."""
    if (section, key) in _CHOICES:
        choices = _CHOICES[section, key]
        return [] if value in choices else [f"{where}: {value!r} is not one of {', '.join(choices)}"]
    if (section, key) in _ADDRESSES:
        return _check_address(where, value, loopback=_ADDRESSES[section, key])
    if (section, key) == ("listen", "http_origins"):
        return [f"{where}: {one!r} is not SCHEME://HOST[:PORT]" for one in origins(value) if not _ORIGIN.fullmatch(one)]
    if (section, key) == ("etcd", "endpoints"):
        return [mistake for one in members(value) for mistake in _check_address(where, one, loopback=False)]
    if (section, key) == ("etcd", "cell"):
        named = _CELL.fullmatch(value)
        return [] if named else [f"{where}: {value!r} is not 1 to 64 letters, digits, dots, dashes or underscores"]
    if (section, key) == ("traces", "endpoint"):
        is_url = not value or _COLLECTOR.fullmatch(value)
        return [] if is_url else [f"{where}: {value!r} is not http://HOST:PORT or https://HOST:PORT"]
    if (section, key) == ("traces", "ratio"):
        return [] if 0 <= value <= 1 else [f"{where}: must be at least 0 and at most 1, is {value}"]
    if (section, key) == ("listen", "socket") and value and not HAS_SOCKETS:
        return [f"{where}: gRPC has no Unix sockets on Windows: leave it empty and set listen.tcp"]
    if (section, key) == ("state", "path") and not value:
        return [f"{where}: must name a file; to store nothing, set state.backend to memory"]
    if (section, key) == ("state", "max_bytes") and value < MIN_STATE_BYTES:
        return [f"{where}: must be at least {MIN_STATE_BYTES} (1 MiB), is {value}"]
    if (section, key) == ("limits", "memory"):
        return [] if 0 <= value < 2**63 else [f"{where}: must be at least 0 and at most {2**63 - 1}, is {value}"]
    if not isinstance(value, str) and not 0 < value <= _MAX[type(value)]:
        return [f"{where}: must be greater than 0 and at most {_MAX[type(value)]}, is {value}"]
    return []


def origins(text: str) -> frozenset[str]:
    """The origins that ``listen.http_origins`` lists."""
    return frozenset(one.strip() for one in text.split(",") if one.strip())


def members(endpoints: str) -> list[str]:
    """The members of etcd that ``etcd.endpoints`` lists."""
    return [one.strip() for one in endpoints.split(",") if one.strip()]


_CELL = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""A name that can stand in a key of etcd."""
_ADDRESSES = {
    ("listen", "tcp"): True,
    ("listen", "tls"): False,
    ("listen", "tls_tokens"): False,
    ("listen", "http_tokens"): False,
    ("listen", "http"): True,
    ("metrics", "address"): False,
}
"""Addresses, and whether they must be loopback."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*?#@]+")
"""What a browser sends as the origin of a page: no path, and no wildcard."""
_COLLECTOR = re.compile(r"https?://[^/\s:@]+:[0-9]{1,5}|https?://\[[0-9a-fA-F:]+\]:[0-9]{1,5}")
"""What OTLP over gRPC is reached at: no path."""
MIN_STATE_BYTES = 1 << 20
"""Least size of the state file."""
_MAX = {int: 2**31 - 1, float: 30 * 86_400.0}
"""The most that gRPC's settings and the fields of the contract can hold; 30 days for seconds."""
_CHOICES = {
    ("log", "format"): ("logfmt", "json"),
    ("log", "level"): ("debug", "info", "warning", "error"),
    ("state", "backend"): ("sqlite", "etcd", "memory"),
    ("state", "durability"): ("process", "full"),
}


def _check_address(where: str, value: str, *, loopback: bool) -> list[str]:
    if not value:
        return []
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return [f"{where}: {value!r} is not HOST:PORT with a port from 0 to 65535"]
    if loopback and host not in LOOPBACK:
        return [f"{where}: {host} is not loopback; without TLS only {', '.join(sorted(LOOPBACK))} are allowed"]
    return []
