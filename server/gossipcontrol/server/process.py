"""The process around the service: signals, the supervisor, the log of libraries, and Python's collector."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config
from gossipcontrol.server.descriptors import check_descriptors
from gossipcontrol.server.observe.library_log import take_library_lines
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.reload import Reloader
from gossipcontrol.server.runtime.collector import Collector
from gossipcontrol.server.signals import handle_signals
from gossipcontrol.server.supervisor import Supervisor


async def serve(config: Config, log: Logger, read: Callable[[], Config] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; ``read`` reads the configuration again at SIGHUP.

    Raises StartError, or OwnershipLost.
    """
    check_descriptors(config, log)
    stopped, supervisor, lines = asyncio.Event(), Supervisor(), take_library_lines(log)
    app, collector = App(config, log), Collector()
    reloader = Reloader(config, read or (lambda: config), app.apply, log)

    def reload() -> None:
        if app.is_serving:
            supervisor.reloading()
            reloader.reload()
            supervisor.ready()

    handle_signals(stopped.set, reload, app.dump)
    collector.tune()
    watching = asyncio.create_task(app.wall_clock.run())
    try:
        if not await _start(app, stopped, supervisor.ready):
            return
        collector.start(app.accounted_bytes)
        supervisor.ready()
        await _first(stopped, app.lost)
        supervisor.stopping()
        await app.stop()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        supervisor.close()
        collector.close()
        logging.getLogger().removeHandler(lines)
        log.close()


async def _start(app: App, stopped: asyncio.Event, standing_by: Callable[[], None]) -> bool:
    """Start; False: it was stopped while it stood by."""
    starting, waiting = asyncio.create_task(app.start(standing_by)), asyncio.create_task(stopped.wait())
    await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if app.is_standing_by:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False
    await starting
    return True


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
