"""Where the service listens: each address is tried first, because gRPC does not say why it cannot have one."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from gossipcontrol.server.errors import StartError

SOCKET_PATH_BYTES = 107
"""Most bytes of a Unix socket's path (unix(7))."""
FIRST_FREE_PORT = 1024
"""Ports below it are privileged, unless net.ipv4.ip_unprivileged_port_start says otherwise."""

ALONE: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""With it an address cannot be had while another socket listens on it; on Windows SO_REUSEADDR would allow that."""

Add = Callable[[str], int]
"""Has gRPC listen on an address; returns the port. Raises RuntimeError."""


def listen_on_tcp(address: str, add: Add) -> int:
    """Listen on every address that ``host:port`` stands for; returns the port. Raises StartError with the cause."""
    if failed := _busy_addresses(address):
        raise StartError(f"{address} cannot be listened on: {'; '.join(failed)}")
    try:
        return add(address)
    except RuntimeError as error:
        raise StartError(f"{address} cannot be listened on: {error}") from error


def describe_error(error: OSError, port: int = FIRST_FREE_PORT) -> str:
    """What the system says, and what it usually means."""
    text = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{text}; is another service running there?"
    if error.errno in (errno.EACCES, errno.EPERM) and 0 < port < FIRST_FREE_PORT:
        return f"{text}; ports below {FIRST_FREE_PORT} need root or the capability CAP_NET_BIND_SERVICE"
    return text


def _busy_addresses(address: str) -> list[str]:
    """Why the addresses behind this one cannot be had, each by name unless it is the given one."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        return [describe_error(error)]
    failed: list[str] = []
    missing: list[str] = []
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, ALONE, 1)
                probe.bind(where)
        except OSError as error:
            name = f"[{where[0]}]:{port}" if family == socket.AF_INET6 else f"{where[0]}:{port}"
            text = ("" if name == address else f"{name}: ") + describe_error(error, int(port))
            # A host without IPv6 is no mistake, as long as the name has another address.
            (missing if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) else failed).append(text)
    return missing if len(missing) == len(found) else failed


if sys.platform == "win32":

    def listen_on_socket(path: Path, add: Add) -> None:
        """GRPC cannot on Windows; raises StartError."""
        del add
        raise StartError(f"{path} cannot be listened on: gRPC has no Unix sockets on Windows")

else:

    def listen_on_socket(path: Path, add: Add) -> None:
        """Listen in a directory of the owner's; the mask makes the socket 0600 from its first moment.

        Raises StartError with the cause.
        """
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise StartError(f"{path} is longer than the {SOCKET_PATH_BYTES} bytes that a Unix socket's path may have")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
                raise StartError(f"{path} exists and is no socket")
            if _is_live(path):
                raise StartError(f"{path} cannot be listened on: another service is running there")
            mask = os.umask(0o177)
            try:
                _add_socket(path, add)
            finally:
                os.umask(mask)
        except FileExistsError as error:
            raise StartError(f"{path}: {path.parent} is no directory") from error
        except OSError as error:
            raise StartError(f"{path} cannot be listened on: {describe_error(error)}") from error

    def _add_socket(path: Path, add: Add) -> None:
        """Have gRPC bind the path; raises OSError with the cause when it cannot, else StartError."""
        try:
            add(f"unix:{path}")
        except RuntimeError as error:
            path.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(path))
            path.unlink()
            raise StartError(f"{path} cannot be listened on: {error}") from error

    def _is_live(path: Path) -> bool:
        """Whether somebody listens there: gRPC would take the path from a live service as from a dead one."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except TimeoutError:
                return True  # its queue is full, but it is there
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True
