"""The signals that end a program, on every system's event loop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from types import FrameType

if sys.platform == "win32":
    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    """SIGBREAK: Ctrl-Break, the console is closed, the user logs off, or the machine shuts down."""

    def on_stop(stop: Callable[[], None]) -> None:
        """Call ``stop`` in the running loop when a signal asks this program to end.

        The event loop of Windows has no signal handlers. Python's own run in the main thread, between two of its
        instructions; the loop is woken for them.
        """
        loop = asyncio.get_running_loop()

        def handle(number: int, frame: FrameType | None) -> None:
            del number, frame
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop)

        for one in SIGNALS:
            signal.signal(one, handle)

else:
    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def on_stop(stop: Callable[[], None]) -> None:
        """Call ``stop`` in the running loop when a signal asks this program to end."""
        loop = asyncio.get_running_loop()
        for one in SIGNALS:
            loop.add_signal_handler(one, stop)


async def until_stopped() -> None:
    """Return when a signal asks this program to end."""
    stopped = asyncio.Event()
    on_stop(stopped.set)
    await stopped.wait()
