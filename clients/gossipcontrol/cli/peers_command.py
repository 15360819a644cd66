"""The command ``gossipcontrol peers``: who is there, once or as it changes."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterable

import click
from google.protobuf.json_format import MessageToDict
from gossipcontrol.cli import table
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import ClientError
from gossipcontrol.client.presence import PeerChange, Presence
from gossipcontrol.client.race import run_until_first
from gossipcontrol.v1 import liveness_pb2
from gossipcontrol.v1.gossip_control_pb2 import WatchPeersResponse
from gossipcontrol.v1.liveness_pb2 import PEER_STATE_UNSPECIFIED, PeerState, PeerView
from rich.text import Text

STATES = {table.state_name(number): number for number in PeerState.values() if number}


@click.command()
@click.argument("store_id", metavar="STORE")
@click.option("--state", type=click.Choice(sorted(STATES)), help="Only peers in this state.")
@click.option("--watch", is_flag=True, help="Show every change until Ctrl-C.")
@json_option
@calls
async def peers(client: Client, store_id: str, state: str | None, watch: bool, as_json: bool) -> int:
    """Show who is online, suspected, offline or asleep in STORE."""
    wanted = STATES[state] if state else PEER_STATE_UNSPECIFIED
    if watch:
        await run_until_first(_Follower(wanted, as_json).follow(client, store_id), _until_stopped())
        return 0
    found = [peer async for peer in client.list_peers(store_id, state=wanted)]
    if as_json:
        table.show_json([MessageToDict(peer, preserving_proto_field_name=True) for peer in found])
    else:
        _show(found)
    return 0


def _show(found: Iterable[PeerView]) -> None:
    """One line per peer."""
    rows = table.columns("PEER", "STATE", "HEARD", "OBSERVERS")
    for peer in found:
        rows.add_row(table.short(peer.peer_id), _painted(peer.state), _heard(peer), str(peer.observers))
    table.show(rows, "no peers")


class _Follower:
    """Shows what changes; ``wanted`` is the state that a peer must enter or leave, UNSPECIFIED: any."""

    def __init__(self, wanted: PeerState.ValueType, as_json: bool) -> None:
        self._wanted = wanted
        self._as_json = as_json
        self._presence = Presence()
        self._begun = False

    async def follow(self, client: Client, store_id: str) -> None:
        async for response in client.watch_peers(store_id, on_loss=self._lost):
            self._take(response)

    def _take(self, response: WatchPeersResponse) -> None:
        if response.lagged:
            self._say("lagged", "some changes were left out; this is how things stand now")
        for change in self._presence.take(response.view, more=not response.resume_token):
            if self._wanted in (PEER_STATE_UNSPECIFIED, change.before, change.after):
                self._changed(change)
        if response.resume_token and not self._begun:
            # A person should see that there is nothing to see, and a program when the snapshot is whole.
            self._begun = True
            count = len(self._presence.peers())
            self._say("watching", f"{count} peers; waiting for changes", store=response.view.store_id, peers=count)

    def _changed(self, change: PeerChange) -> None:
        before, after = _state(change.before), _state(change.after)
        peer = self._presence.peer(change.peer_id)
        heard = "" if peer is None or peer.heard_age is None else f", heard {table.ago(int(peer.heard_age * 1000))}"
        arrow = f"{before} -> {after}" if change.before else after
        self._say(
            "peer", f"{table.short(change.peer_id)}: {arrow}{heard}", peer=change.peer_id, before=before, state=after
        )

    def _lost(self, error: ClientError) -> None:
        self._say("lost", f"the service is gone: {error}; trying again", error=str(error))

    def _say(self, what: str, text: str, **fields: object) -> None:
        if self._as_json:
            click.echo(json.dumps({"ts": time.time(), "event": what, **fields}))
        else:
            click.echo(f"{time.strftime('%H:%M:%S')}  {text}")


async def _until_stopped() -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


def _state(state: PeerState.ValueType) -> str:
    return table.state_name(state) if state else "absent"


def _painted(state: PeerState.ValueType) -> Text:
    return Text(table.state_name(state), table.STATE_COLOURS.get(state, ""))


def _heard(peer: liveness_pb2.PeerView) -> str:
    return table.ago(peer.heard_age_ms) if peer.HasField("heard_age_ms") else "never"
