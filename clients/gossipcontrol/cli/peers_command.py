"""The command ``gossipcontrol peers``: the peers of a store, once or as they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.complaint import words_of
from gossipcontrol.cli.completion import complete_store
from gossipcontrol.cli.document import plain_list, print_document
from gossipcontrol.cli.identifier import is_known_store, resolve_store, unknown
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say_event
from gossipcontrol.client import call, decode
from gossipcontrol.client.client import Client
from gossipcontrol.client.enumeration import PeerState
from gossipcontrol.client.errors import ClientError
from gossipcontrol.client.presence import Peer, PeerChange, Presence, PresenceUpdate
from gossipcontrol.client.race import run_until_first
from gossipcontrol.system.stop import until_stopped
from rich.text import Text

STATES = {str(state): state for state in PeerState}


@click.command()
@click.argument("store_id", metavar="STORE", shell_complete=complete_store)
@click.option("--state", type=click.Choice(sorted(STATES)), help="Only peers in this state.")
@click.option("--watch", is_flag=True, help="Show every change until Ctrl-C.")
@json_option
@calls
async def peers(client: MessageClient, store_id: str, state: str | None, watch: bool, as_json: bool) -> int:
    """Show who is online, suspected, offline or asleep in STORE."""
    wanted = STATES[state] if state else None
    store_id = await resolve_store(client, store_id)
    if watch:
        await run_until_first(
            _Follower(client, wanted, as_json, partial(words_of, client.address)).follow(store_id), until_stopped()
        )
        return 0
    found = [peer async for peer in client.messages(call.list_peers(store_id, wanted))]
    if not found and not await is_known_store(client, store_id):
        raise unknown("store", store_id)
    if as_json:
        print_document({"store_id": store_id, "peers": plain_list(found)})
    else:
        _show(map(decode.peer, found))
    return 0


def _show(found: Iterable[Peer]) -> None:
    """One line per peer."""
    rows = Columns("PEER", "STATE", "HEARD", "OBSERVERS")
    for peer in found:
        rows.add_row(table.called(peer.peer_id, peer.name), _painted(peer.state), _heard(peer), str(peer.observers))
    table.show(rows, "no peers")


class _Follower:
    """Shows what changes.

    ``wanted`` is the state that a peer must enter or leave, None: any; ``why`` gives the words of an error.
    """

    def __init__(
        self, client: Client, wanted: PeerState | None, as_json: bool, why: Callable[[ClientError], str]
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._as_json = as_json
        self._why = why
        self._presence = Presence()
        self._begun = False
        self._is_lost = False

    async def follow(self, store_id: str) -> None:
        async for update in self._client.watch_peers(store_id, on_loss=self._lost):
            self._apply(update)

    def _apply(self, update: PresenceUpdate) -> None:
        if self._is_lost:
            self._is_lost = False
            server = self._client.server
            several = server != self._client.address
            self._say("found", f"{server} serves" if several else "the service is back", server=server)
        if update.view.settling:
            self._say("settling", "another replica has taken over; waiting until it knows who is online")
            return
        if update.lagged:
            self._say("lagged", "some changes were lost; this is the current state")
        for change in self._presence.apply(update.view, more=update.more):
            if self._wanted is None or self._wanted in (change.before, change.after):
                self._changed(change)
        if not update.more and not self._begun:
            # People see that there may be no peers, and programs that the snapshot is complete.
            self._begun = True
            count = len(self._presence.peers())
            peers = "1 peer" if count == 1 else f"{count} peers"
            self._say("watching", f"{peers}; waiting for changes", store=update.view.store_id, peers=count)

    def _changed(self, change: PeerChange) -> None:
        before, after = _state(change.before), _state(change.after)
        peer = self._presence.peer(change.peer_id)
        heard = "" if peer is None or peer.heard_age is None else f", heard {table.ago(peer.heard_age)}"
        name = "" if peer is None else peer.name
        arrow = f"{before} -> {after}" if change.before is not None else after
        text = f"{table.called(change.peer_id, name)}: {arrow}{heard}"
        self._say("peer", text, peer=change.peer_id, name=name, before=before, state=after)

    def _lost(self, error: ClientError) -> None:
        """Say it once in an outage: each further attempt fails in the same way."""
        if not self._is_lost:
            why = self._why(error)
            server = self._client.server
            several = server != self._client.address
            text = f"reconnecting to {server}: {error}" if several else f"service unreachable, will retry: {why}"
            self._say("lost", text, error=str(error) if several else why, server=server)
        self._is_lost = True

    def _say(self, what: str, text: str, **fields: object) -> None:
        say_event(what, text, fields, as_json=self._as_json)


def _state(state: PeerState | None) -> str:
    return "absent" if state is None else str(state)


def _painted(state: PeerState) -> Text:
    return Text(str(state), table.STATE_COLOURS.get(state, ""))


def _heard(peer: Peer) -> str:
    return "never" if peer.heard_age is None else table.ago(peer.heard_age)
