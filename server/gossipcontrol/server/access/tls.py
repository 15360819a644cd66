"""The service's side of TLS: its certificate, and the authority whose clients it believes; both follow their files."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from gossipcontrol.server.access.fresh import Fresh


class TlsFiles(NamedTuple):
    """Paths of PEM files."""

    certificate: Path
    """The service's certificate, followed by those between it and the authority."""
    key: Path
    clients: Path | None
    """Certificates of the authority that signs clients' certificates; None: clients show none."""


class TlsError(Exception):
    """A file cannot be read, or its content is not what it should be."""


def server_context(certificate: Path, key: Path, failed: Callable[[Exception], None]) -> ssl.SSLContext:
    """The same for a listener of HTTP, whose clients show no certificates; raises TlsError."""
    files = TlsFiles(certificate, key, None)
    current = Fresh((certificate, key), lambda: _context(files), failed)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, first: ssl.SSLContext) -> None:
        del name, first
        connection.context = current()

    context = _context(files)
    context.sni_callback = choose
    return context


def _context(files: TlsFiles) -> ssl.SSLContext:
    _read(files.certificate, "CERTIFICATE")
    _read(files.key, "PRIVATE KEY")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"{files.certificate} and {files.key} cannot be used together: {error}") from error
    return context


def server_credentials(files: TlsFiles, failed: Callable[[Exception], None]) -> grpc.ServerCredentials:
    """Credentials of a listener; a client certificate is demanded where there is an authority for it.

    Files that change are read again before the next handshake; broken ones change nothing, and ``failed`` is told.
    Raises TlsError.
    """
    paths = [path for path in files if path is not None]
    current = Fresh(paths, lambda: _configuration(files), failed)
    first = current()
    changes: Any = _Changes(current, first)  # the stubs do not know that None means no change
    return grpc.dynamic_ssl_server_credentials(first, changes, files.clients is not None)


class _Changes:
    """The configuration when it has changed, else None: gRPC would make everything anew, and forget its sessions."""

    def __init__(
        self, current: Callable[[], grpc.ServerCertificateConfiguration], first: grpc.ServerCertificateConfiguration
    ) -> None:
        self._current = current
        self._given = first

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by a thread of gRPC's before each handshake."""
        current = self._current()
        if current is self._given:
            return None
        self._given = current
        return current


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    chain, key = _read(files.certificate, "CERTIFICATE"), _read(files.key, "PRIVATE KEY")
    clients = _read(files.clients, "CERTIFICATE") if files.clients else None
    _check_pair(files)
    return grpc.ssl_server_certificate_configuration([(key, chain)], clients)


def _read(path: Path, kind: str) -> bytes:
    """A PEM file that has such a part; raises TlsError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: cannot be read: {error.strerror}") from error
    if f"{kind}-----".encode() not in content:
        raise TlsError(f"{path}: has no {kind} in PEM")
    return content


def _check_pair(files: TlsFiles) -> None:
    """Whether key and certificate belong together: gRPC would only fail each handshake. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.clients:
            context.load_verify_locations(files.clients)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"{files.certificate} and {files.key} cannot be used together: {error}") from error
