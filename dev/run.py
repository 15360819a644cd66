"""The main job on this machine: the service, this host's watcher and one real iroh-gossip node, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

from gossipcontrol.client import Client, ClientError
from gossipcontrol.server.config import ConfigError, read_config

START_TIME = 30.0
"""Seconds within which the service serves."""
STOP_TIME = 8.0
"""Seconds that each program has to stop, before it is killed."""
STORE = "notes"


class Program:
    """One of the three programs; its output is printed with its name before each line."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.name = name
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Run the program until it ends."""
        # A session of its own: Ctrl-C reaches it through `stop` only, so the programs stop in order.
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-um",
            *self._arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        async for line in process.stdout:
            say(self.name, line.decode(errors="replace").rstrip())
        say(self.name, f"ended with exit code {await process.wait()}")

    async def stop(self) -> None:
        """Stop the program if it runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIME):
                await process.wait()
                return
        process.kill()


def say(name: str, text: str) -> None:
    """Print one line of a program."""
    print(f"{name:>8} | {text}", flush=True)


async def run() -> int:
    """Start the service, then the others; stop them in reverse order; returns the exit code."""
    config = read_config()
    address = f"unix:{config.listen.socket}" if config.listen.socket else config.listen.tcp
    service = Program("service", "gossipcontrol.server")
    others = [
        Program("watcher", "gossipcontrol.cli", "watch", "--address", address),
        Program("node", "gossipcontrol.cli", "agent", "iroh", "--store", STORE, "--address", address),
    ]
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(stopped.wait()), asyncio.create_task(service.run())]
    serving = asyncio.create_task(_is_serving(address))
    await asyncio.wait([*tasks, serving], return_when=asyncio.FIRST_COMPLETED)
    if serving.done() and serving.result():
        say("run", f"gRPC     {' and '.join(filter(None, (config.listen.socket, config.listen.tcp)))}")
        say("run", f"page     http://{config.metrics.address}/")
        say("run", f"metrics  http://{config.metrics.address}/metrics")
        say("run", "try      .venv/bin/gossipcontrol status | stores | rejoins")
        say("run", "         .venv/bin/gossipcontrol report network-change")
        say("run", "stop     Ctrl-C")
        tasks += [asyncio.create_task(program.run()) for program in others]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    elif serving.done():
        say("run", f"the service does not answer within {START_TIME:g} s, and is stopped")
    serving.cancel()
    failed = not stopped.is_set()
    for program in (*reversed(others), service):
        await program.stop()
    stopped.set()
    await asyncio.gather(*tasks)
    return int(failed)


async def _is_serving(address: str) -> bool:
    async with Client(address, timeout=START_TIME) as client:
        with suppress(ClientError):
            return await client.serving()
    return False


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run()))
    except ConfigError as error:
        sys.exit("\n".join(error.mistakes))
