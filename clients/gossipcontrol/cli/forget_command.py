"""The command ``gossipcontrol forget``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say
from gossipcontrol.client import call


@click.command()
@click.option("--node", "node_id", default="", metavar="NODE", help="The node; without --store, with all its stores.")
@click.option("--store", "store_id", default="", metavar="STORE", help="The store; without --node, of all nodes.")
@json_option
@calls
async def forget(client: MessageClient, node_id: str, store_id: str, as_json: bool) -> int:
    """Forget a node without an agent, or a store, and all that is parked for it."""
    if not node_id and not store_id:
        raise click.UsageError("give --node, --store, or both")
    done = await client.message(call.forget(node_id, store_id))
    table.show_messages([done]) if as_json else say(f"forgotten: {done.nodes} nodes, {done.stores} stores of nodes")
    return 0
