"""The command ``gossipcontrol stores``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.completion import complete_node
from gossipcontrol.cli.document import plain_list, print_document
from gossipcontrol.cli.identifier import resolve_node, unknown
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import call, decode


@click.command()
@click.option("--node", "node_id", default="", shell_complete=complete_node, help="Only stores of this node.")
@json_option
@calls
async def stores(client: MessageClient, node_id: str, as_json: bool) -> int:
    """List the stores and their nodes."""
    node_id = await resolve_node(client, node_id)
    found = [store async for store in client.messages(call.list_stores(node_id))]
    if node_id and not found:
        raise unknown("node", node_id)
    if as_json:
        print_document({"stores": plain_list(found)})
    else:
        table.show_stores(map(decode.store, found))
    return 0
