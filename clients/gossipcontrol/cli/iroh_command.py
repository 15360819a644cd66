"""The command ``gossipcontrol agent iroh``: a real iroh-gossip node with its agent."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path

import click
from gossipcontrol.agent.report_builder import check_id, check_name
from gossipcontrol.cli.address_help import ADDRESS_HELP
from gossipcontrol.cli.extra import missing_package
from gossipcontrol.cli.iroh_program import PROGRAM, VARIABLE, Flags, find_program, run_program
from gossipcontrol.cli.restart_option import restart_option
from gossipcontrol.client.address import check_addresses, default_address
from gossipcontrol.client.errors import AddressError
from gossipcontrol.iroh.key import KeyFileError, read_key
from gossipcontrol.watch.host import host_id as own_host_id
from gossipcontrol.watch.scope import Filter

if find_program() is None:
    import_module("iroh")  # an error here says which extra is missing


@click.command()
@click.option("--store", "stores", multiple=True, required=True, help="Store to replicate; may be given several times.")
@click.option("--peer", "peers", multiple=True, metavar="NODEID[@IP:PORT]", help="A peer to join through; repeatable.")
@click.option("--address", metavar="ADDRESS", help=ADDRESS_HELP)
@click.option("--key-file", type=click.Path(path_type=Path), help="Keeps the node's id over restarts.")
@click.option("--host-id", default="", help="Host the node runs on; default: this machine's.")
@click.option("--name", default="", help="What people call the node, such as kitchen-laptop; shown beside its id.")
@click.option("--heartbeat", default=2.0, show_default=True, help="Seconds between two broadcasts.")
@click.option("--size", default=0, help="Bytes to pad each broadcast to, as large as an app's messages are.")
@click.option("--control/--no-control", default=True, help="Attach to the service, or run the bare node.")
@click.option("--watch/--no-watch", default=True, help="Reconnect to the service at once when the network changes.")
@click.option("--include", multiple=True, help="Interfaces to watch that are ignored by default; a pattern.")
@click.option("--ignore", multiple=True, help="Further interfaces to ignore; a pattern.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "python", "rust"]),
    default="auto",
    show_default=True,
    help=f"The node: Python's, on iroh-gossip 0.35, or {PROGRAM}, on the current one; auto: the latter if installed.",
)
@restart_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def iroh(
    stores: tuple[str, ...],
    peers: tuple[str, ...],
    address: str | None,
    key_file: Path | None,
    host_id: str,
    name: str,
    heartbeat: float,
    size: int,
    control: bool,
    watch: bool,
    include: tuple[str, ...],
    ignore: tuple[str, ...],
    engine: str,
    restart_command: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run one real iroh-gossip node beside the service until SIGTERM or SIGINT."""
    for store_id in stores:
        try:
            check_id(store_id, "the id")
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--store") from None
    try:
        check_name(name or "unnamed")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--name") from None
    service = _service(address, control=control)
    # The node in Rust runs no command of the operator.
    program = find_program() if engine == "rust" or (engine == "auto" and not restart_command) else None
    if engine == "rust" and restart_command:
        raise click.UsageError("--restart-command needs --engine python")
    if program is None and engine == "rust":
        raise click.UsageError(f"{PROGRAM} is not installed: put it on PATH, or its path into {VARIABLE}")
    if program is not None:
        flags = Flags(service, host_id or own_host_id(), name, heartbeat, size, watch, as_json, key_file)
        run_program(program, flags, stores, peers, include, ignore)
    try:  # late: the program in Rust does without the package
        running = import_module("gossipcontrol.cli.iroh_run")
    except ModuleNotFoundError as error:
        raise click.UsageError(missing_package(error, "iroh")) from error
    chosen, key = Filter.default(include=include, ignore=ignore), _key(key_file)
    options = running.Options(
        stores, peers, service, key, host_id, name, heartbeat, size, watch, chosen, restart_command, as_json
    )
    asyncio.run(running.Run(options).run())


def _service(address: str | None, *, control: bool) -> str:
    """The address of the service, empty without ``control``; raises UsageError."""
    try:
        if address:
            check_addresses(address)
        return (address or default_address()) if control else ""
    except AddressError as error:
        raise click.UsageError(str(error)) from error


def _key(path: Path | None) -> bytes | None:
    """The key in this file; raises BadParameter."""
    try:
        return read_key(path) if path else None
    except (KeyFileError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--key-file") from error
