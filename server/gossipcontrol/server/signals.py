"""What the running service does on SIGTERM, SIGINT, SIGHUP and SIGUSR1."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

Handler = Callable[[], None]


def handle_signals(stop: Handler, reload: Handler, dump: Handler) -> None:
    """Call these in the event loop that runs now; a system without a signal or handlers goes without."""
    loop = asyncio.get_running_loop()
    for name, handler in (("SIGTERM", stop), ("SIGINT", stop), ("SIGHUP", reload), ("SIGUSR1", dump)):
        number = getattr(signal, name, None)
        if number is not None:
            loop.add_signal_handler(number, handler)
