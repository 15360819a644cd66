"""Where the service is: ``unix:/path`` or ``host:port``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gossipcontrol.client.errors import AddressError

VARIABLE = "GOSSIPCONTROL_ADDRESS"
DEFAULT_TCP = "127.0.0.1:7420"


def check_address(address: str) -> str:
    """The address itself, if it is one; raises AddressError."""
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").startswith("/"):
            raise AddressError(f"{address!r}: the path of a Unix socket must be absolute, as in unix:/run/x.sock")
        return address
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise AddressError(f"{address!r} is neither unix:/path nor host:port")
    return address


def default_address(environ: Mapping[str, str] | None = None) -> str:
    """GOSSIPCONTROL_ADDRESS, else the Unix socket of a service on this machine, else the default TCP port."""
    environ = os.environ if environ is None else environ
    if environ.get(VARIABLE):
        return check_address(environ[VARIABLE])
    base = environ.get("XDG_RUNTIME_DIR") or str(Path.home() / ".local/state")
    for directory in ("/run", base):
        path = Path(directory, "gossipcontrol", "gossipcontrol.sock")
        if os.access(path, os.W_OK):
            return f"unix:{path}"
    return DEFAULT_TCP
