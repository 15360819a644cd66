"""The ways into the service: each listener with how its callers are told apart."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from gossipcontrol.server.access.caller import EVERYBODY, Authenticate, ByCertificate, BySocket, ByToken
from gossipcontrol.server.access.fresh import Fresh
from gossipcontrol.server.access.revocation import NONE_REVOKED, Revoked, read_revoked
from gossipcontrol.server.access.table import RoleSocket, Table, read_table
from gossipcontrol.server.access.tls import TlsError, TlsFiles, server_context, server_credentials
from gossipcontrol.server.config import Access, Config
from gossipcontrol.server.errors import StartError
from gossipcontrol.server.rpc.listener import listen_on_socket, listen_on_tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One listener."""

    key: str
    """The key of the configuration that opens it."""
    authenticate: Authenticate
    listen: Callable[[grpc.aio.Server], int]
    """Has a server listen there; returns the port, 0 for a socket. Raises StartError."""
    is_private: bool
    """Whether only who may do everything reaches it."""


class Entrances:
    """Every listener that a configuration opens. ``failed`` is told when a changed file is broken.

    Raises StartError where a file is broken at the start.
    """

    def __init__(self, config: Config, failed: Callable[[Exception], None]) -> None:
        self._config = config
        self._failed = failed
        access = config.access
        try:
            self.table: Callable[[], Table] = self._follow_table(access)
            self._revoked: Callable[[], Revoked] = self._follow_revoked(access)
            self._entrances = list(self._open())
        except Exception as error:
            if isinstance(error, StartError):
                raise
            raise StartError(f"access: {error}") from error

    def __iter__(self) -> Iterator[Entrance]:
        return iter(self._entrances)

    def refresh(self) -> None:
        """Look at the files now."""
        for source in (self.table, self._revoked):
            if isinstance(source, Fresh):
                source.refresh()

    def context(self) -> ssl.SSLContext:
        """TLS for listeners of HTTP, with the service's certificate; raises StartError."""
        access = self._config.access
        try:
            return server_context(Path(access.certificate), Path(access.key), self._failed)
        except TlsError as error:
            raise StartError(f"access: {error}") from error

    def _follow_table(self, access: Access) -> Callable[[], Table]:
        if not access.identities:
            return lambda: Table(())
        path = Path(access.identities)
        return Fresh((path,), lambda: read_table(path), self._failed)

    def _follow_revoked(self, access: Access) -> Callable[[], Revoked]:
        if not access.revoked:
            return lambda: NONE_REVOKED
        path, authority = Path(access.revoked), Path(access.authority)
        return Fresh((path, authority), lambda: read_revoked(path, authority), self._failed)

    def _open(self) -> Iterator[Entrance]:
        listen, access = self._config.listen, self._config.access
        if listen.socket:
            yield self._socket("listen.socket", RoleSocket(listen.socket, "", 0o600), EVERYBODY, is_private=True)
        if listen.tcp:
            yield self._tcp("listen.tcp", listen.tcp, EVERYBODY, None)
        for one in self.table().sockets:
            yield self._socket(f"socket {one.path}", one, BySocket(self.table, one.path), is_private=False)
        if listen.tls or listen.tls_tokens:
            chain, key = Path(access.certificate), Path(access.key)
            if listen.tls:
                files = TlsFiles(chain, key, Path(access.authority))
                yield self._tcp("listen.tls", listen.tls, ByCertificate(self.table, self._revoked), files)
            if listen.tls_tokens:
                files = TlsFiles(chain, key, None)
                yield self._tcp("listen.tls_tokens", listen.tls_tokens, ByToken(self.table), files)

    def _socket(self, key: str, one: RoleSocket, authenticate: Authenticate, *, is_private: bool) -> Entrance:
        def listen(server: grpc.aio.Server) -> int:
            path = Path(one.path)
            listen_on_socket(path, server.add_insecure_port)
            try:
                if one.group:
                    shutil.chown(path, group=one.group)
                path.chmod(one.mode)
            except (OSError, LookupError) as error:
                raise StartError(f"{path}: the group {one.group} cannot have it: {error}") from error
            return 0

        return Entrance(key=key, authenticate=authenticate, listen=listen, is_private=is_private)

    def _tcp(self, key: str, address: str, authenticate: Authenticate, files: TlsFiles | None) -> Entrance:
        def listen(server: grpc.aio.Server) -> int:
            if files is None:
                return listen_on_tcp(address, server.add_insecure_port)
            credentials = server_credentials(files, self._failed)
            return listen_on_tcp(address, lambda where: server.add_secure_port(where, credentials))

        return Entrance(key=key, authenticate=authenticate, listen=listen, is_private=files is None)
