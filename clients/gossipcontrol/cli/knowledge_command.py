"""The command ``gossipcontrol knowledge``."""

from __future__ import annotations

import click
from gossipcontrol.cli import knowledge_table
from gossipcontrol.cli.completion import complete_store
from gossipcontrol.cli.identifier import is_known_store, resolve_peers, resolve_store
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client.errors import NotFoundError


@click.command()
@click.argument("store_id", metavar="STORE", shell_complete=complete_store)
@click.option("--peer", "peer_id", default="", help="Only of this peer.")
@click.option("--holds", metavar="HASH", default="", help="Only peers that provably hold this intention; hexadecimal.")
@json_option
@calls
async def knowledge(
    client: MessageClient,
    store_id: str,
    peer_id: str,
    holds: str,
    as_json: bool,
) -> int:
    """Show what each peer of STORE provably holds, and how far behind it is."""
    try:
        wanted = bytes.fromhex(holds)
    except ValueError as error:
        raise click.UsageError(f"--holds: {holds} is not hexadecimal") from error
    store_id = await resolve_store(client, store_id)
    try:
        (peer_id,) = await resolve_peers(client, store_id, (peer_id,))
        await knowledge_table.show_knowledge(client, store_id, peer_id, wanted, as_json)
    except NotFoundError:
        if peer_id or wanted or not await is_known_store(client, store_id):
            raise
        knowledge_table.show_nothing(store_id, as_json)
    return 0
