"""The command ``gossipcontrol explain``."""

from __future__ import annotations

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.choice import CALLER_CAUSES, CAUSES, KINDS
from gossipcontrol.cli.completion import complete_node, complete_rejoin, complete_store
from gossipcontrol.cli.document import plain, print_document
from gossipcontrol.cli.identifier import resolve, resolve_rejoin
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import call, decode
from gossipcontrol.client.decision import NetworkChange, PastTrigger, RejoinTrigger


@click.command()
@click.argument("node_id", metavar="[NODE]", required=False, shell_complete=complete_node)
@click.argument("store_ids", metavar="[STORE]...", nargs=-1, shell_complete=complete_store)
@click.option(
    "--cause", type=click.Choice(sorted([*CALLER_CAUSES, *KINDS])), help="Default: manual; of a host: network-change."
)
@click.option("--host-id", default="", help="As if this host's network changed; causes resume and app-foreground too.")
@click.option(
    "--rejoin", "rejoin_id", default="", shell_complete=complete_rejoin, help="Explain the triggers of this rejoin."
)
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
    rejoin_id = await resolve_rejoin(client, rejoin_id)
    node_id, store_ids = await resolve(client, node_id or "", store_ids)
    trigger = _trigger(node_id, store_ids, cause, host_id, rejoin_id, request_id)
    response = await client.message(call.explain(trigger))
    if as_json:
        print_document(plain(response))
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
