"""The commands ``gossipcontrol members ...``."""

from __future__ import annotations

import click
from gossipcontrol.cli.completion import complete_store
from gossipcontrol.cli.document import print_document
from gossipcontrol.cli.identifier import CUT, resolve_new_peers, resolve_peers, resolve_store, unknown
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say_wrapped
from gossipcontrol.client.intention import Member


@click.group()
def members() -> None:
    """Add or remove members of a store, or undo that: peers that must hold every intention."""


@members.command()
@click.argument("store_id", metavar="STORE", shell_complete=complete_store)
@click.argument("peer_ids", metavar="PEER...", nargs=-1, required=True)
@json_option
@calls
async def add(client: MessageClient, store_id: str, peer_ids: tuple[str, ...], as_json: bool) -> int:
    """Make peers active members of STORE; give whole ids or names, for they need not be known yet."""
    for peer_id in peer_ids:
        if peer_id.endswith(CUT):
            raise unknown("peer", peer_id)
    store_id = await resolve_store(client, store_id)
    peer_ids = await resolve_new_peers(client, store_id, peer_ids)
    active = await client.knowledge.change_members(store_id, added=[Member(one) for one in peer_ids])
    _show("added to", store_id, peer_ids, active, as_json)
    return 0


@members.command()
@click.argument("store_id", metavar="STORE", shell_complete=complete_store)
@click.argument("peer_ids", metavar="PEER...", nargs=-1, required=True)
@click.option("--now", is_flag=True, help="Let them count no longer at once: no undo brings back what others prune.")
@json_option
@calls
async def remove(client: MessageClient, store_id: str, peer_ids: tuple[str, ...], now: bool, as_json: bool) -> int:
    """Remove peers that are gone for ever from STORE, so that nothing waits for them.

    They hold the stability frontier back for an hour yet, in which `members undo` loses nothing.
    """
    store_id = await resolve_store(client, store_id)
    peer_ids = await resolve_peers(client, store_id, peer_ids)
    active = await client.knowledge.change_members(store_id, removed=peer_ids, hold=0.0 if now else None)
    _show("removed from", store_id, peer_ids, active, as_json)
    return 0


@members.command()
@click.argument("store_id", metavar="STORE", shell_complete=complete_store)
@json_option
@calls
async def undo(client: MessageClient, store_id: str, as_json: bool) -> int:
    """Undo the newest change of the members of STORE; up to 16 changes, one by one."""
    store_id = await resolve_store(client, store_id)
    undone = await client.knowledge.undo_members(store_id)
    if as_json:
        shown = {"peer_ids": list(undone.peer_ids), "active_count": undone.active}
        print_document({"store_id": store_id, **shown, "frontier_may_have_risen": undone.frontier_may_have_risen})
        return 0
    say_wrapped(f"as before in {store_id}: {', '.join(undone.peer_ids)}; {undone.active} active members")
    if undone.frontier_may_have_risen:
        say_wrapped(
            "The stability frontier may have risen meanwhile, and others may have pruned by it: a peer that lacks "
            "something older gets it from a backup, or begins a new life."
        )
    return 0


def _show(done: str, store_id: str, peer_ids: tuple[str, ...], active: int, as_json: bool) -> None:
    if as_json:
        print_document({"store_id": store_id, "peer_ids": list(peer_ids), "active_count": active})
    else:
        say_wrapped(f"{done} {store_id}: {', '.join(peer_ids)}; {active} active members")
