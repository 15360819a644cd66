"""The command ``gossipcontrol rejoin``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.choice import CALLER_CAUSES, CAUSES, SECONDS
from gossipcontrol.cli.completion import complete_node, complete_store
from gossipcontrol.cli.identifier import CUT, resolve, unknown
from gossipcontrol.cli.invocation import FAILED, calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import call
from gossipcontrol.client.decision import RejoinTrigger
from gossipcontrol.client.enumeration import DecisionKind, Outcome
from gossipcontrol.v1 import decision_pb2

UNDER_WAY = (Outcome.WAITING, Outcome.PARKED, Outcome.RUNNING)


@click.command()
@click.argument("node_id", metavar="NODE", shell_complete=complete_node)
@click.argument("store_ids", metavar="[STORE]...", nargs=-1, shell_complete=complete_store)
@click.option("--cause", type=click.Choice(CALLER_CAUSES), default="manual", show_default=True)
@click.option("--wait", type=SECONDS, metavar="SECONDS", help="Wait for the outcome; exit with 1 if any is bad.")
@click.option("--park", is_flag=True, help="Wait for NODE if the service does not know it; give whole ids.")
@json_option
@calls
async def rejoin(
    client: MessageClient,
    node_id: str,
    store_ids: tuple[str, ...],
    cause: str,
    wait: float | None,
    park: bool,
    as_json: bool,
) -> int:
    """Have NODE rejoin these stores, or all it has."""
    if not park:
        node_id, store_ids = await resolve(client, node_id, store_ids)
    elif node_id.endswith(CUT):
        raise unknown("node", node_id)
    trigger = RejoinTrigger(node_id=node_id, store_ids=store_ids, cause=CAUSES[cause], park=park)
    response = await client.message(call.rejoin(trigger))
    if wait is None:
        table.show_decision_messages(response.decisions, as_json)
        return 0
    ids = {decision.rejoin_id for decision in response.decisions if decision.rejoin_id}
    rejoins = await _ended(client, node_id, ids, wait)
    shown = rejoins + _skipped(response.decisions)
    table.show_rejoin_messages(shown, as_json, verbose=False)
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
