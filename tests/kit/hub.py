"""A hub in the test's process, with an authority of its own, that clients reach over TLS only as its table says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from gossipcontrol.client import Client, Credentials
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import SERVICE, found_hub
from gossipcontrol.server.access.table import digest_of
from gossipcontrol.server.config import Access, Listen, Log

from tests.kit.service_lab import Service, config, deciding, serving
from tests.kit.until import DEADLINE

TOKEN = "a-token-of-the-test"
TABLE = f"""\
[[identity]]
name = "devices"
certificates = ["laptop-*"]
roles = ["agent", "watcher"]
nodes = ["{{name}}"]
hosts = ["{{name}}"]
stores = ["notes", "photos"]

[[identity]]
name = "operator"
certificates = ["operator"]
roles = ["admin"]

[[identity]]
name = "dashboard"
tokens = [{{ sha256 = "{digest_of(TOKEN)}" }}, {{ sha256 = "{digest_of("old")}", until = 2020-01-01T00:00:00Z }}]
roles = ["reader"]
stores = ["notes"]
"""


class Hub(NamedTuple):
    """A running hub and its authority."""

    service: Service
    authority: Authority
    directory: Path

    @property
    def address(self) -> str:
        """Where clients with certificates reach it."""
        return f"tls:localhost:{self.service.app.ports['listen.tls']}"

    @property
    def token_address(self) -> str:
        """Where clients with tokens reach it."""
        return f"tls:localhost:{self.service.app.ports['listen.tls_tokens']}"

    def credentials(self, name: str) -> Credentials:
        """Those of a client of this name, whose certificate is made if there is none."""
        if not self.authority.path(name, "crt").exists():
            self.authority.issue(name, 1)
        return Credentials(
            authority=str(self.authority.path(AUTHORITY, "crt")),
            certificate=str(self.authority.path(name, "crt")),
            key=str(self.authority.path(name, "key")),
        )

    def client(self, name: str) -> Client:
        """A client of this name."""
        return Client(self.address, timeout=DEADLINE, credentials=self.credentials(name))

    def bearer_credentials(self, token: str = TOKEN) -> Credentials:
        """Those of a client with this token."""
        path = self.directory / "token"
        path.write_text(f"{token}\n", encoding="ascii")
        return Credentials(authority=str(self.authority.path(AUTHORITY, "crt")), token=str(path))

    def bearer(self, token: str = TOKEN) -> Client:
        """A client with this token."""
        return Client(self.token_address, timeout=DEADLINE, credentials=self.bearer_credentials(token))

    def write_table(self, text: str) -> None:
        """Replace the table, and have the hub look."""
        (self.directory / "identities.toml").write_text(text, encoding="utf-8")
        self.look()

    def look(self) -> None:
        """Have the hub look at its files now, as at SIGHUP."""
        self.service.app.apply(replace(self.service.config, log=Log(format="json")))


@asynccontextmanager
async def hub(directory: Path, table: str = TABLE, http_tokens: str = "", **sections: Any) -> AsyncGenerator[Hub]:
    """Run a hub with this table, and these sections of its configuration."""
    place = directory / "hub"
    authority = Authority(place)
    found_hub(authority, ["localhost", "127.0.0.1"], 1, 1)
    (place / "identities.toml").write_text(table, encoding="utf-8")
    settings = config(directory, deciding=deciding(), **sections)
    listen: Listen = replace(settings.listen, tls="127.0.0.1:0", tls_tokens="127.0.0.1:0", http_tokens=http_tokens)
    access = Access(
        identities=str(place / "identities.toml"),
        certificate=str(authority.path(SERVICE, "crt")),
        key=str(authority.path(SERVICE, "key")),
        authority=str(authority.path(AUTHORITY, "crt")),
        revoked=str(authority.revoked_path),
    )
    async with serving(replace(settings, listen=listen, access=access)) as service:
        yield Hub(service, authority, place)
