"""The command ``gossipcontrol replicas``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.document import plain, print_document
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say_wrapped
from gossipcontrol.client import call, decode
from gossipcontrol.client.enumeration import ReplicaRole
from gossipcontrol.client.replica import Replica, ReplicaList
from rich.text import Text

COLOURS = {ReplicaRole.OWNER: "green", ReplicaRole.REPLACED: "red"}


@click.command()
@json_option
@calls
async def replicas(client: MessageClient, as_json: bool) -> int:
    """List the replicas of the service: who owns the state, and how far behind others are."""
    found = await client.message(call.list_replicas())
    if as_json:
        print_document(plain(found))
    else:
        show_replicas(decode.replica_list(found))
    return 0


def show_replicas(found: ReplicaList) -> None:
    """One line per replica."""
    if not found.replicas:
        say_wrapped(f"one service, state in {_place(found)}: no replicas")
        return
    rows = Columns("ADDRESS", "ROLE", "EPOCH", "LAG", "SEEN", "VERSION", "REPLICA")
    for one in found.replicas:
        role = Text(str(one.role), COLOURS.get(one.role, ""))
        seen = "now" if one.role is ReplicaRole.OWNER else table.ago(one.seen_age)
        rows.add_row(one.address or "-", role, str(one.epoch), _lag(one), seen, one.version, one.replica_id)
    table.show(rows, "")


def _place(found: ReplicaList) -> str:
    if found.backend == "memory":
        return "memory only"
    return found.path or "a file"


def _lag(one: Replica) -> str:
    """Entries behind the owner; cold: the log is read when it takes over."""
    if one.role is ReplicaRole.OWNER:
        return ""
    return "cold" if one.lag_entries is None else str(one.lag_entries)
