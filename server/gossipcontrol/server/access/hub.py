"""The files with which a hub begins: a configuration and a table of identities beside the authority's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gossipcontrol.server.access.authority import AUTHORITY, Authority

SERVICE = "hub"
"""Name of the service's certificate."""
TABLE = "identities.toml"
CONFIGURATION = "gossipcontrol.toml"


def found_hub(authority: Authority, hosts: Sequence[str], port: int, days: int) -> Path:
    """Make the authority, the hub's certificate, and both files; returns the configuration. Raises AuthorityError."""
    directory = authority.directory
    authority.found()
    authority.issue(SERVICE, days, hosts)
    (directory / TABLE).write_text(_TABLE, encoding="utf-8")
    configuration = directory / CONFIGURATION
    configuration.write_text(
        _CONFIGURATION.format(
            port=port,
            table=directory / TABLE,
            certificate=authority.path(SERVICE, "crt"),
            key=authority.path(SERVICE, "key"),
            authority=authority.path(AUTHORITY, "crt"),
            revoked=authority.revoked_path,
        ),
        encoding="utf-8",
    )
    return configuration


_CONFIGURATION = """\
# A hub that its clients reach with certificates of its own authority.

[listen]
tls = "[::]:{port}"

[access]
identities = "{table}"
certificate = "{certificate}"
key = "{key}"
authority = "{authority}"
revoked = "{revoked}"
"""
_TABLE = """\
# Who may call what. The first row that fits a certificate, token or socket counts.
#
# Roles: agent (speaks for `nodes`, in `stores`), watcher (reports changes of `hosts`), reader (reads `stores`), admin
# (all of these, and clears up). Scopes are shell patterns; {name} is the name in the certificate.

# Each device has a certificate of its own: it may speak for its own node and host.
[[identity]]
name = "devices"
certificates = ["*"]
roles = ["agent", "watcher"]
nodes = ["{name}", "{name}.*"]
hosts = ["{name}", "{name}.*"]
stores = ["*"]
"""
