"""Tells systemd (or whoever set NOTIFY_SOCKET) that the service is ready, reloads, stops and is alive: sd_notify(3)."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress


class Supervisor:
    """Sends datagrams to NOTIFY_SOCKET; without one it does nothing."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._path = environ.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_interval(environ)
        self._watching: asyncio.Task[None] | None = None

    def ready(self) -> None:
        """The service serves, or has reloaded; from now on the watchdog is fed by the event loop."""
        self._send("READY=1")
        if self._path and self._interval and self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch(self._interval))

    def reloading(self) -> None:
        """The service reloads; ``ready`` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service stops; the watchdog is fed until the end."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Feed the watchdog no more."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self, interval: float) -> None:
        """An event loop that stands still feeds nobody: that is what the watchdog is for."""
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _send(self, text: str) -> None:
        if self._path and sys.platform != "win32":
            address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
                one.setblocking(False)
                one.sendto(text.encode(), address)


def _watchdog_interval(environ: Mapping[str, str]) -> float:
    """A third of the time that systemd waits, in seconds; 0: no watchdog for this process."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(text) / 1_000_000 / 3
