"""The command ``gossipcontrol status``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.choice import OUTCOMES
from gossipcontrol.cli.document import print_document
from gossipcontrol.cli.invocation import FAILED, calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.status import read_status


@click.command()
@json_option
@calls
async def status(client: MessageClient, as_json: bool) -> int:
    """Say whether the service serves, and what it knows."""
    status = await read_status(client)
    if as_json:
        outcomes = [str(one.outcome) for one in status.rejoins]
        counts = {name: outcomes.count(name) for name in dict.fromkeys([*OUTCOMES, *outcomes])}
        print_document({
            "address": client.address, "serving": status.serving, "stores": status.stores, "nodes": status.nodes,
            "attached": status.attached, "nodes_complete": status.all_nodes, "rejoins_last_hour": counts,
            "rejoins_complete": status.all_rejoins, "warnings": list(status.warnings),
            "troubles": [one.sentence for one in status.troubles],
        })  # fmt: skip
    else:
        table.show_status(client.address, status)
    return 0 if status.serving else FAILED
