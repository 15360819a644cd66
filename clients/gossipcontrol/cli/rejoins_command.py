"""The command ``gossipcontrol rejoins``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.choice import CAUSES, OUTCOMES, SECONDS
from gossipcontrol.cli.completion import complete_node, complete_store
from gossipcontrol.cli.identifier import resolve
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import call


@click.command()
@click.option("--node", "node_id", default="", shell_complete=complete_node, help="Only of this node.")
@click.option("--store", "store_id", default="", shell_complete=complete_store, help="Only of this store.")
@click.option("--cause", type=click.Choice(sorted(CAUSES)), help="Only with a trigger of this cause.")
@click.option("--outcome", type=click.Choice(sorted(OUTCOMES)), help="Only with this outcome.")
@click.option("--since", type=SECONDS, default=0.0, metavar="SECONDS", help="Only requested within this time.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most rejoins shown.")
@click.option("-v", "--verbose", is_flag=True, help="Show every trigger with its reason.")
@json_option
@calls
async def rejoins(
    client: MessageClient,
    node_id: str,
    store_id: str,
    cause: str | None,
    outcome: str | None,
    since: float,
    limit: int,
    verbose: bool,
    as_json: bool,
) -> int:
    """List rejoins, newest first: what was decided, why, and how they ended."""
    node_id, (store_id,) = await resolve(client, node_id, (store_id,))
    chosen = call.RejoinFilter(
        node_id=node_id,
        store_id=store_id,
        cause=CAUSES[cause] if cause else None,
        outcome=OUTCOMES[outcome] if outcome else None,
        max_age=since or None,
        limit=limit,
    )
    found = [one async for one in client.messages(call.list_rejoins(chosen))]
    table.show_rejoin_messages(found, as_json, verbose=verbose)
    return 0
