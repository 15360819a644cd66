"""The command ``gossipcontrol forget``."""

from __future__ import annotations

import click
from gossipcontrol.cli.completion import complete_node, complete_store
from gossipcontrol.cli.document import plain, print_document
from gossipcontrol.cli.identifier import resolve
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say_wrapped
from gossipcontrol.client import call


@click.command()
@click.option(
    "--node",
    "node_id",
    default="",
    shell_complete=complete_node,
    metavar="NODE",
    help="The node; without --store, with all its stores.",
)
@click.option(
    "--store",
    "store_id",
    default="",
    shell_complete=complete_store,
    metavar="STORE",
    help="The store; without --node, of all nodes.",
)
@json_option
@calls
async def forget(client: MessageClient, node_id: str, store_id: str, as_json: bool) -> int:
    """Forget a node without an agent, or a store, and all that is parked for it."""
    if not node_id and not store_id:
        raise click.UsageError("give --node, --store, or both")
    node_id, (store_id,) = await resolve(client, node_id, (store_id,))
    done = await client.message(call.forget(node_id, store_id))
    if as_json:
        print_document({"node_id": node_id, "store_id": store_id, **plain(done)})
    else:
        say_wrapped(_told(done.nodes, done.stores, node_id, store_id))
    return 0


def _told(nodes: int, stores: int, node_id: str, store_id: str) -> str:
    """What was forgotten, with whole ids: what was typed may have been a beginning of them."""
    subject = " of ".join(filter(None, (store_id and f"store {store_id}", node_id and f"node {node_id}")))
    return f"forgotten: {subject}: {_count(nodes, 'node')}, {_count(stores, 'node-store pair')}"


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
