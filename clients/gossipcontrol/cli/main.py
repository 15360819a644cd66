"""The command ``gossipcontrol``. Exit codes: 0 done, 1 failed, 2 usage, 3 service unreachable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib import import_module

import click
from gossipcontrol.cli import knowledge_table, table
from gossipcontrol.cli.invocation import FAILED, calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.status import read_status
from gossipcontrol.client import call, decode
from gossipcontrol.client.decision import NetworkChange, PastTrigger, RejoinTrigger
from gossipcontrol.client.enumeration import Cause, ChangeKind, DecisionKind, Outcome
from gossipcontrol.client.intention import Member
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2

LATE = {
    "watch": ("gossipcontrol.cli.watch_command", "watch"),
    "iroh": ("gossipcontrol.cli.iroh_command", "iroh"),
    "peers": ("gossipcontrol.cli.peers_command", "peers"),
    "top": ("gossipcontrol.cli.top_command", "top"),
}
"""Commands that are imported when they are called: they need more than the others, some of it from an extra."""
CAUSES = {str(cause): cause for cause in Cause}
KINDS = {
    "network-change": ChangeKind.CHANGED,
    "resume": ChangeKind.RESUMED,
    "app-foreground": ChangeKind.FOREGROUND,
}
"""Causes that are reported as changes of a host or node."""
CALLER_CAUSES = ("isolated", "manual", "suspicion")
"""Causes that a caller may give; only the service detects rot and partitions."""
OUTCOMES = {str(outcome): outcome for outcome in Outcome}
UNDER_WAY = (Outcome.WAITING, Outcome.PARKED, Outcome.RUNNING)


class _Group(click.Group):
    """Imports the late commands only when they are called, and says which extra is missing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *(name for name in LATE if self._has(name))])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if not self._has(cmd_name):
            return super().get_command(ctx, cmd_name)
        module, attribute = LATE[cmd_name]
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise click.UsageError(
                f"this command needs the package {error.name}: pip install 'gossipcontrol[iroh]'"
            ) from error
        return command

    def _has(self, name: str) -> bool:
        return name in LATE and (name == "iroh") == (self.name == "agent")


_SECONDS = click.FloatRange(0, 1e9)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gossipcontrol")
def main() -> None:
    """Keep peer-to-peer gossip alive: query the service, report to it, or run a watcher or an agent.

    The service is found through --address, GOSSIPCONTROL_ADDRESS, its Unix socket, or 127.0.0.1:7420.

    Exit codes: 0 done, 1 failed, 2 usage, 3 service unreachable.
    """


@main.group(cls=_Group)
def agent() -> None:
    """Run an agent beside a node."""


@main.command()
@json_option
@calls
async def status(client: MessageClient, as_json: bool) -> int:
    """Say whether the service serves, and what it knows."""
    status = await read_status(client)
    if as_json:
        counts = {name: sum(one.outcome == number for one in status.rejoins) for name, number in OUTCOMES.items()}
        table.show_json({
            "address": client.address, "serving": status.serving, "stores": status.stores, "nodes": status.nodes,
            "attached": status.attached, "nodes_complete": status.all_nodes, "rejoins_last_hour": counts,
            "rejoins_complete": status.all_rejoins,
        })  # fmt: skip
    else:
        table.show_status(client.address, status)
    return 0 if status.serving else FAILED


@main.command()
@click.argument("node_id", metavar="NODE")
@click.argument("store_ids", metavar="[STORE]...", nargs=-1)
@click.option("--cause", type=click.Choice(CALLER_CAUSES), default="manual", show_default=True)
@click.option("--wait", type=_SECONDS, metavar="SECONDS", help="Wait for the outcome; exit with 1 if any is bad.")
@json_option
@calls
async def rejoin(
    client: MessageClient, node_id: str, store_ids: tuple[str, ...], cause: str, wait: float | None, as_json: bool
) -> int:
    """Have NODE rejoin these stores, or all it has."""
    trigger = RejoinTrigger(node_id=node_id, store_ids=store_ids, cause=CAUSES[cause])
    response = await client.message(call.rejoin(trigger))
    if wait is None:
        _show_decisions(response, as_json)
        return 0
    ids = {decision.rejoin_id for decision in response.decisions if decision.rejoin_id}
    rejoins = await _ended(client, node_id, ids, wait)
    shown = rejoins + _skipped(response.decisions)
    _show_rejoins(shown, as_json, verbose=False)
    worked = shown and len(rejoins) == len(ids) and all(Outcome(one.outcome) is Outcome.VERIFIED for one in shown)
    return 0 if worked else FAILED


def _skipped(decisions: Iterable[decision_pb2.Decision]) -> list[decision_pb2.Rejoin]:
    """The rejoins that will not start, with the reason."""
    return [
        decision_pb2.Rejoin(
            node_id=one.node_id,
            store_id=one.store_id,
            outcome=decision_pb2.REJOIN_OUTCOME_SKIPPED,
            detail=one.message,
        )
        for one in decisions
        if DecisionKind(one.kind) is DecisionKind.SKIPPED
    ]


async def _ended(client: MessageClient, node_id: str, ids: set[str], wait: float) -> list[decision_pb2.Rejoin]:
    """These rejoins once all have ended, or as they stand after ``wait`` seconds."""
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        rejoins = await _found(client, node_id, ids)
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0 or not any(Outcome(one.outcome) in UNDER_WAY for one in rejoins):
            return rejoins
        await asyncio.sleep(min(0.2, left))


async def _found(client: MessageClient, node_id: str, ids: set[str]) -> list[decision_pb2.Rejoin]:
    """These rejoins of a node as they stand now; no older ones are requested."""
    found: list[decision_pb2.Rejoin] = []
    if ids:
        async for one in client.messages(call.list_rejoins(call.RejoinFilter(node_id=node_id))):
            found += [one] if one.rejoin_id in ids else []
            if len(found) == len(ids):
                break
    return found


@main.group()
def report() -> None:
    """Report what happened to a host, for scripts and hooks that know more than a watcher."""


def _report_command(name: str, kind: ChangeKind, text: str) -> None:
    @report.command(name, help=text)
    @click.option("--host-id", default="", help="The host; default: this machine.")
    @click.option("--node", "nodes", multiple=True, help="Report for these nodes instead of a host; repeatable.")
    @click.option("--detail", default="", help="What changed, for people.")
    @json_option
    @calls
    async def run(client: MessageClient, host_id: str, nodes: tuple[str, ...], detail: str, as_json: bool) -> int:
        from gossipcontrol.watch.host import host_id as own_host_id

        change = NetworkChange(
            host_id="" if nodes else host_id or own_host_id(), node_ids=nodes, kind=kind, detail=detail
        )
        response = await client.message(call.report_network_change(change))
        _show_decisions(response, as_json)
        return 0


_report_command("network-change", ChangeKind.CHANGED, "Addresses, routes or links of the host changed.")
_report_command("resume", ChangeKind.RESUMED, "The host woke from sleep.")
_report_command("sleep", ChangeKind.SLEEPING, "The host is about to sleep.")
_report_command("foreground", ChangeKind.FOREGROUND, "The app came to the foreground.")


@main.command()
@click.option("--node", "node_id", default="", help="Only stores of this node.")
@json_option
@calls
async def stores(client: MessageClient, node_id: str, as_json: bool) -> int:
    """List the stores and their nodes."""
    found = [store async for store in client.messages(call.list_stores(node_id))]
    table.show_messages(found) if as_json else table.show_stores(map(decode.store, found))
    return 0


@main.command()
@click.option("--node", "node_id", default="", help="Only of this node.")
@click.option("--store", "store_id", default="", help="Only of this store.")
@click.option("--cause", type=click.Choice(sorted(CAUSES)), help="Only with a trigger of this cause.")
@click.option("--outcome", type=click.Choice(sorted(OUTCOMES)), help="Only with this outcome.")
@click.option("--since", type=_SECONDS, default=0.0, metavar="SECONDS", help="Only requested within this time.")
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
    chosen = call.RejoinFilter(
        node_id=node_id,
        store_id=store_id,
        cause=CAUSES[cause] if cause else None,
        outcome=OUTCOMES[outcome] if outcome else None,
        max_age=since or None,
        limit=limit,
    )
    found = [one async for one in client.messages(call.list_rejoins(chosen))]
    _show_rejoins(found, as_json, verbose=verbose)
    return 0


@main.command()
@click.argument("node_id", metavar="[NODE]", required=False)
@click.argument("store_ids", metavar="[STORE]...", nargs=-1)
@click.option(
    "--cause", type=click.Choice(sorted([*CALLER_CAUSES, *KINDS])), help="Default: manual, of a host network-change."
)
@click.option("--host-id", default="", help="As if this host's network changed; causes resume and app-foreground too.")
@click.option("--rejoin", "rejoin_id", default="", help="Explain the triggers of this rejoin.")
@click.option("--request", "request_id", default="", help="Explain the triggers sent with this request id.")
@json_option
@calls
async def explain(
    client: MessageClient,
    node_id: str | None,
    store_ids: tuple[str, ...],
    cause: str | None,
    host_id: str,
    rejoin_id: str,
    request_id: str,
    as_json: bool,
) -> int:
    """Explain what would happen to a trigger now, or why past ones were decided so; changes nothing."""
    if sum(map(bool, (node_id, host_id, rejoin_id, request_id))) != 1:
        raise click.UsageError("name one of: NODE, --host-id, --rejoin, --request")
    cause = cause or ("network-change" if host_id else "manual")
    if host_id and cause not in KINDS:
        raise click.UsageError(f"--cause {cause} is not about a host: name the NODE, or one of {', '.join(KINDS)}")
    trigger = _trigger(node_id or "", store_ids, cause, host_id, rejoin_id, request_id)
    response = await client.message(call.explain(trigger))
    if as_json:
        table.show_message(response)
    else:
        table.show_explanations(decode.explain_result(response))
    return 0


def _trigger(
    node_id: str, store_ids: tuple[str, ...], cause: str, host_id: str, rejoin_id: str, request_id: str
) -> RejoinTrigger | NetworkChange | PastTrigger:
    if rejoin_id or request_id:
        return PastTrigger(request_id=request_id, rejoin_id=rejoin_id)
    if (kind := KINDS.get(cause)) is None:
        return RejoinTrigger(node_id=node_id, store_ids=store_ids, cause=CAUSES[cause])
    if store_ids:
        raise click.UsageError(f"{cause} concerns every store of a node: name none")
    return NetworkChange(host_id=host_id, node_ids=(node_id,) if node_id else (), kind=kind)


@main.command()
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


Answer = gossip_control_pb2.RejoinResponse | gossip_control_pb2.ReportNetworkChangeResponse


def _show_decisions(response: Answer, as_json: bool) -> None:
    if as_json:
        table.show_messages(response.decisions)
    else:
        table.show_decisions(map(decode.decision, response.decisions))


def _show_rejoins(rejoins: Iterable[decision_pb2.Rejoin], as_json: bool, *, verbose: bool) -> None:
    if as_json:
        table.show_messages(rejoins)
    else:
        table.show_rejoins(map(decode.rejoin_record, rejoins), verbose=verbose)
