"""The commands ``gossipcontrol report ...``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.choice import SECONDS
from gossipcontrol.cli.completion import complete_node
from gossipcontrol.cli.identifier import resolve_nodes
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import call
from gossipcontrol.client.decision import NetworkChange
from gossipcontrol.client.enumeration import ChangeKind
from gossipcontrol.watch.host import host_id as own_host_id

Run = TypeVar("Run", bound=Callable[..., object])


@click.group()
def report() -> None:
    """Report what happened to a host, for scripts and hooks that know more than a watcher."""


SLEPT = click.option("--slept", type=SECONDS, default=0.0, metavar="SECONDS", help="How long the host slept.")


def _no_option(function: Run) -> Run:
    return function


def _report_command(name: str, kind: ChangeKind, text: str) -> None:
    @report.command(name, help=text)
    @click.option("--host-id", default="", help="The host; default: this machine.")
    @click.option(
        "--node",
        "nodes",
        multiple=True,
        shell_complete=complete_node,
        help="Report for these nodes instead of a host; repeatable.",
    )
    @click.option("--detail", default="", help="What changed, for people.")
    @click.option("--park", is_flag=True, help="Wait for nodes that the service does not know; give whole ids.")
    @(SLEPT if kind is ChangeKind.RESUMED else _no_option)
    @json_option
    @calls
    async def run(
        client: MessageClient,
        host_id: str,
        nodes: tuple[str, ...],
        detail: str,
        park: bool,
        as_json: bool,
        slept: float = 0.0,
    ) -> int:
        nodes = nodes if park else await resolve_nodes(client, nodes)
        change = NetworkChange(
            host_id="" if nodes else host_id or own_host_id(),
            node_ids=nodes,
            kind=kind,
            detail=detail,
            slept=slept,
            park=park,
        )
        response = await client.message(call.report_network_change(change))
        table.show_decision_messages(response.decisions, as_json)
        return 0


_report_command("network-change", ChangeKind.CHANGED, "Addresses, routes or links of the host changed.")
_report_command("resume", ChangeKind.RESUMED, "The host woke from sleep.")
_report_command("sleep", ChangeKind.SLEEPING, "The host is about to sleep.")
_report_command("foreground", ChangeKind.FOREGROUND, "The app came to the foreground.")
