"""Where the service is: ``unix:/path``, ``tls:host:port``, or ``host:port`` without TLS.

Replicas are listed with commas: ``tls:hub1:7443,tls:hub2:7443``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from gossipcontrol.client.errors import AddressError
from gossipcontrol.system.home import user_directory

VARIABLE = "GOSSIPCONTROL_ADDRESS"
TLS = "tls:"
"""Begins an address that is reached over TLS."""
DEFAULT_TCP = "127.0.0.1:7420"
NO_SOCKETS = "gRPC has no Unix sockets on Windows" if sys.platform == "win32" else ""
"""Why there are none on this system."""


def check_address(address: str) -> str:
    """The address itself, if it is one; raises AddressError."""
    if address.startswith("unix:"):
        if NO_SOCKETS:
            raise AddressError(f"{address!r}: {NO_SOCKETS}; use host:port")
        if not address.removeprefix("unix:").startswith("/"):
            raise AddressError(f"{address!r}: the path of a Unix socket must be absolute, as in unix:/run/x.sock")
        return address
    if "://" in address:
        raise AddressError(f"{address!r} is a URL; an address is unix:/path or [tls:]host:port, without a scheme")
    host, _, port = address.removeprefix(TLS).rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise AddressError(f"{address!r} is neither unix:/path nor [tls:]host:port")
    if not _can_be_looked_up(host.strip("[]")):
        raise AddressError(f"{address!r}: {host!r} cannot be the name of a host")
    return address


def _can_be_looked_up(name: str) -> bool:
    try:
        encoded = name.encode("idna")
    except UnicodeError:  # an empty or a long label, or characters that no name has
        return False
    return bool(encoded) and b"\0" not in encoded


def split_addresses(text: str) -> tuple[str, ...]:
    """The addresses that a text lists, each once, in order; raises AddressError.

    A path may contain commas, so a Unix socket stands alone.
    """
    if text.startswith("unix:"):
        return (check_address(text),)
    listed = tuple(dict.fromkeys(check_address(one.strip()) for one in text.split(",")))
    over_tls = [one for one in listed if one.startswith(TLS)]
    plain = [one for one in listed if one not in over_tls]
    if over_tls and plain:
        raise AddressError(f"{plain[0]!r} is without {TLS}, and {over_tls[0]!r} is with it: all, or none, are over TLS")
    if len(listed) > 1 and (socket := next((one for one in listed if one.startswith("unix:")), "")):
        raise AddressError(f"{socket!r}: a Unix socket cannot be listed with other addresses")
    return listed


def check_addresses(text: str) -> str:
    """The text itself, if it lists addresses; raises AddressError."""
    split_addresses(text)
    return text


def is_local(address: str) -> bool:
    """Whether the address is of this machine: a Unix socket, or loopback."""
    if address.startswith("unix:"):
        return True
    host = address.removeprefix(TLS).rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def default_address(environ: Mapping[str, str] | None = None) -> str:
    """GOSSIPCONTROL_ADDRESS, else the Unix socket of a service on this machine, else the default TCP port.

    On Windows there is no such socket.
    """
    environ = os.environ if environ is None else environ
    if environ.get(VARIABLE):
        return check_addresses(environ[VARIABLE])
    for directory in (Path("/run"), user_directory("XDG_RUNTIME_DIR", environ)):
        if directory is None or NO_SOCKETS:
            continue
        path = directory / "gossipcontrol" / "gossipcontrol.sock"
        if os.access(path, os.W_OK):
            return f"unix:{path}"
    return DEFAULT_TCP
