"""The command ``gossipcontrol agent lattice``: an agent beside a Lattice daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from gossipcontrol.cli.daemon_run import DaemonOptions, DaemonRun, daemon_options
from gossipcontrol.client.address import NO_SOCKETS
from gossipcontrol.client.client import Client
from gossipcontrol.lattice.calls import default_socket
from gossipcontrol.lattice.node import LatticeNode

RECORD_TIME = 10.0
"""Seconds that recording a batch of intentions may take."""


@click.command()
@click.option(
    "--socket", type=click.Path(path_type=Path), help="The daemon's Unix socket; default: that of this user's daemon."
)
@click.option("--knowledge/--no-knowledge", default=True, help="Bring intentions and members to the service.")
@daemon_options
def lattice(options: DaemonOptions, socket: Path | None, knowledge: bool) -> None:
    """Run an agent beside a Lattice daemon until SIGTERM or SIGINT; the daemon itself goes on.

    It must run as the daemon's user, to whom the socket belongs, or as root.
    """
    if NO_SOCKETS:
        raise click.UsageError(f"the daemon is reached over a Unix socket: {NO_SOCKETS}")
    asyncio.run(_run(options, socket or default_socket(), knowledge=knowledge))


async def _run(options: DaemonOptions, socket: Path, *, knowledge: bool) -> None:
    async with Client(options.address, timeout=RECORD_TIME) as client:

        async def connect() -> LatticeNode:
            return await LatticeNode.connect(socket, client if knowledge else None)

        await DaemonRun(options, f"the Lattice daemon at {socket}", connect).run()
