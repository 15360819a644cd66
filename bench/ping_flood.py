"""What HTTP/2 PINGs that nobody reads the answers of cost a server: a raw socket, no gRPC client."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from bench.memory import resident

MEGABYTES = 7
"""How much of PINGs is sent over one connection."""
PATIENCE = 10.0
"""Seconds within which the server takes them or closes the connection."""
SETTLED = 1.0
"""The answers have been queued when resident memory has not grown for so long, in seconds."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)


@dataclass(frozen=True, slots=True)
class Flood:
    """The result of one flood."""

    gained: float
    """Growth of the server's resident memory at its highest, in MB."""
    sent: float
    """MB of PINGs that the server took before it closed the connection."""


def flood(port: int, pid: int) -> Flood:
    """Send PINGs to a server on a loopback port and read nothing; ``pid`` is the server's process."""
    before = resident(pid) / 1e6
    payload = memoryview(PING * (MEGABYTES * 1_000_000 // len(PING)))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(PREFACE)
        connection.settimeout(0.2)
        sent, highest = 0, before
        last_growth = began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - last_growth < SETTLED and time.monotonic() - began < PATIENCE:
                with suppress(TimeoutError):
                    if sent < len(payload):
                        sent += connection.send(payload[sent : sent + 65_536])
                    else:
                        time.sleep(0.05)
                now_resident = resident(pid) / 1e6
                if now_resident > highest + 0.5:
                    highest, last_growth = now_resident, time.monotonic()
    return Flood(highest - before, sent / 1e6)
