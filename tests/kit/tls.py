"""Handshakes with a hub by Python's own TLS, which says why one fails."""

from __future__ import annotations

import socket
import ssl

from gossipcontrol.server.access.authority import AUTHORITY

from tests.kit.hub import Hub
from tests.kit.until import DEADLINE


def trusting(running: Hub, name: str = "") -> ssl.SSLContext:
    """A context that believes the hub's authority, and shows the certificate of a client."""
    context = ssl.create_default_context(cafile=str(running.authority.path(AUTHORITY, "crt")))
    context.set_alpn_protocols(["h2"])
    if name:
        shown = running.credentials(name)
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def greet(running: Hub, context: ssl.SSLContext, host: str = "localhost") -> str:
    """Shake hands and wait for the first bytes of HTTP/2; returns the version of TLS."""
    port = running.service.app.ports["listen.tls"]
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        wrapped.settimeout(DEADLINE)
        if not wrapped.recv(9):
            raise ConnectionResetError
        return wrapped.version() or ""
