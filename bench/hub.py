"""A hub as a process, with a private authority, for measurements over TLS."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gossipcontrol.client import Credentials
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import SERVICE, found_hub
from gossipcontrol.server.access.table import digest_of

from tests.kit.process import Process, service

TOKEN = "a-token-of-a-measurement"
CLIENT = "agents"
_MANY = 2**31 - 1
_TABLE = f"""\
[[identity]]
name = "measurement"
certificates = ["{CLIENT}"]
tokens = [{{ sha256 = "{digest_of(TOKEN)}" }}]
roles = ["admin"]
limits = {{ streams = {_MANY}, requests = {_MANY}, bytes = {_MANY} }}
"""


class HubFiles(NamedTuple):
    """Where the files of a hub are."""

    directory: Path
    pair: tuple[Path, Path]
    """Its certificate and key."""
    credentials: Credentials
    """Those of a client."""

    def settings(self) -> dict[str, str]:
        """Settings of the service for these files."""
        authority = Authority(self.directory)
        return {
            "access_identities": str(self.directory / "identities.toml"),
            "access_certificate": str(self.pair[0]),
            "access_key": str(self.pair[1]),
            "access_authority": str(authority.path(AUTHORITY, "crt")),
            "access_revoked": str(authority.revoked_path),
        }


def found(directory: Path) -> HubFiles:
    """Make an authority, the hub's certificate, a client's, and a table that limits nothing."""
    authority = Authority(directory / "hub")
    found_hub(authority, ["localhost", "127.0.0.1"], 1, 1)
    authority.issue(CLIENT, 1)
    (authority.directory / "identities.toml").write_text(_TABLE, encoding="utf-8")
    shown = Credentials(
        authority=str(authority.path(AUTHORITY, "crt")),
        certificate=str(authority.path(CLIENT, "crt")),
        key=str(authority.path(CLIENT, "key")),
    )
    return HubFiles(authority.directory, (authority.path(SERVICE, "crt"), authority.path(SERVICE, "key")), shown)


def hub(directory: Path, files: HubFiles, **listen: str) -> Process:
    """The service with these listeners, such as ``listen_tls``; its log goes to a file."""
    return service(None, directory, log_to=directory / "log", **files.settings(), **listen)
