"""Why a service is not reached where something listens, in words of the product."""

from __future__ import annotations

import socket

from gossipcontrol.client.address import TLS
from gossipcontrol.client.channel import proxy_for
from gossipcontrol.client.credentials import PREFIX, Credentials
from gossipcontrol.client.errors import CredentialsError
from gossipcontrol.client.servers import Server
from gossipcontrol.system import handshake

_SETTINGS = handshake.Settings(
    f"{PREFIX}AUTHORITY", f"{PREFIX}CERTIFICATE and {PREFIX}KEY, or ask its port for tokens", f"leave out {TLS}"
)


def why_unserved(server: Server, shown: Credentials | None) -> str:
    """Connect to a server, and say why it refuses; "" if it does not, if nobody listens, or if a proxy is between.

    The rest as for `why_refused`; connecting takes ``handshake.LOOK_TIME`` for each address of the server's name.
    """
    if server.address.startswith("unix:") or proxy_for(server.address):
        return ""
    host, _, port = server.address.removeprefix(TLS).rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), handshake.LOOK_TIME)
    except (OSError, ValueError):  # the latter for a name that cannot be one
        return ""
    return why_refused(server.address, connection, shown, server.name)


def why_refused(address: str, connection: socket.socket, shown: Credentials | None = None, name: str = "") -> str:
    """Why a service ends this client's connections, as one sentence, with a cure after "; "; "" if it does not.

    ``connection``: an open one to ``address``, [tls:]host:port; it is closed. ``shown``: what the client shows; None:
    what the environment names. ``name``: the one that the certificate must have, if not the host's of the address.
    Takes two times ``handshake.LOOK_TIME`` at most.
    """
    if not address.startswith(TLS):
        return f"what listens there speaks TLS; write {TLS}{address}" if handshake.speaks_tls(connection) else ""
    host = name or address.removeprefix(TLS).rpartition(":")[0].strip("[]")
    with connection:
        try:
            shown = Credentials.from_environment() if shown is None else shown
            return handshake.why_refused(connection, host, shown, _SETTINGS)
        except (handshake.FilesError, CredentialsError) as error:
            return str(error)
