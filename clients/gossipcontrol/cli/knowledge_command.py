"""The command ``gossipcontrol knowledge``."""

from __future__ import annotations

import click
from gossipcontrol.cli import knowledge_table
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client.intention import Member


@click.command()
@click.argument("store_id", metavar="STORE")
@click.option("--peer", "peer_id", default="", help="Only of this peer.")
@click.option("--holds", metavar="HASH", default="", help="Only peers that provably hold this intention; hexadecimal.")
@click.option("--add", "added", multiple=True, metavar="PEER", help="Make a peer active first; repeatable.")
@click.option("--remove", "removed", multiple=True, metavar="PEER", help="Remove a dead peer first; repeatable.")
@json_option
@calls
async def knowledge(
    client: MessageClient,
    store_id: str,
    peer_id: str,
    holds: str,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show what each peer of STORE provably holds, and how far behind it is."""
    try:
        wanted = bytes.fromhex(holds)
    except ValueError as error:
        raise click.UsageError(f"--holds: {holds} is not hexadecimal") from error
    if added or removed:
        members = [Member(one) for one in added]
        await client.knowledge.change_members(store_id, added=members, removed=removed)
    await knowledge_table.show_knowledge(client, store_id, peer_id, wanted, as_json)
    return 0
