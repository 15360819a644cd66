"""The command ``gossipcontrol agent serf``: an agent beside a Serf agent."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
from gossipcontrol.cli.daemon_run import DaemonOptions, DaemonRun, check_option, daemon_options
from gossipcontrol.client.address import check_address
from gossipcontrol.client.errors import AddressError
from gossipcontrol.serf.connection import PORT
from gossipcontrol.serf.node import Rpc, SerfNode

KEY_BYTES = 4096
"""Most bytes of a file with a key."""


@click.command()
@click.option(
    "--rpc", default=f"127.0.0.1:{PORT}", show_default=True, metavar="HOST:PORT", envvar="SERF_RPC_ADDR",
    help="Where the RPC of the Serf agent is; also SERF_RPC_ADDR.",
)  # fmt: skip
@click.option(
    "--auth-key-file", type=click.Path(path_type=Path),
    help="File with the key of the RPC (rpc_auth); or SERF_RPC_AUTH holds the key.",
)  # fmt: skip
@click.option("--store", default="serf", show_default=True, help="Id of the cluster: one cluster is one store.")
@click.option("--store-tag", default="", help="Tag of the Serf agent that holds the id instead.")
@daemon_options
def serf(options: DaemonOptions, rpc: str, auth_key_file: Path | None, store: str, store_tag: str) -> None:
    """Run an agent beside the Serf agent of this host until SIGTERM or SIGINT; Serf itself goes on."""
    check_option(store, "--store")
    host, port = _place(rpc)
    place = Rpc(host, port, _key(auth_key_file))

    async def connect() -> SerfNode:
        return await SerfNode.connect(place, store_id=store, store_tag=store_tag)

    asyncio.run(DaemonRun(options, f"Serf at {rpc}", connect).run())


def _place(rpc: str) -> tuple[str, int]:
    try:
        host, _, port = check_address(rpc).rpartition(":")
    except AddressError:
        host = port = ""
    if not host or rpc.startswith(("unix:", "tls:")):
        raise click.BadParameter(f"{rpc!r} is no HOST:PORT", param_hint="--rpc")
    return host.strip("[]"), int(port)


def _key(path: Path | None) -> str:
    """The key in the file, or in the environment; empty where there is none."""
    if path is None:
        return os.environ.get("SERF_RPC_AUTH", "")
    try:
        with path.open("rb") as file:
            key = file.read(KEY_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(str(error), param_hint="--auth-key-file") from error
    if not 0 < len(key) <= KEY_BYTES:
        raise click.BadParameter(f"{path} holds no key", param_hint="--auth-key-file")
    return key
