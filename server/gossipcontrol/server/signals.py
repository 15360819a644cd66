"""What the running service does on SIGTERM, SIGINT, SIGHUP and SIGUSR1."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

from gossipcontrol.system.stop import on_stop

Handler = Callable[[], None]


def handle_signals(stop: Handler, reload: Handler, dump: Handler) -> None:
    """Call these in the event loop that runs now; Windows has neither SIGHUP nor SIGUSR1."""
    on_stop(stop)
    if sys.platform != "win32":
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, reload)
        loop.add_signal_handler(signal.SIGUSR1, dump)
