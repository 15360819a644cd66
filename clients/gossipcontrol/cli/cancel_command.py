"""The command ``gossipcontrol cancel``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.completion import complete_rejoin
from gossipcontrol.cli.identifier import resolve_rejoin
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import call


@click.command()
@click.argument("rejoin_id", metavar="REJOIN", shell_complete=complete_rejoin)
@json_option
@calls
async def cancel(client: MessageClient, rejoin_id: str, as_json: bool) -> int:
    """End a rejoin that has not ended; what its agent has begun it carries out, but nothing follows."""
    done = await client.message(call.cancel_rejoin(await resolve_rejoin(client, rejoin_id)))
    table.show_rejoin_messages([done.rejoin], as_json, verbose=False)
    return 0
