"""A neighbour dies without a word, in four ways: presence turns in time, everybody is told so, nobody else turns."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from gossipcontrol.v1.decision_pb2 import CAUSE_ISOLATED, CAUSE_OUTBOUND_ROT, CAUSE_PARTITION
from gossipcontrol.v1.liveness_pb2 import PEER_STATE_OFFLINE, PEER_STATE_ONLINE, PEER_STATE_SUSPECT, PeerState

from tests.e2e.observed import observed
from tests.server.lab import until

CEILING = 6.0
OFFLINE_AFTER = 6.0
REPORT = 2.0
SLACK = 10.0
"""Seconds for a busy machine."""
IDLE = 30.0
"""Seconds after which QUIC gives up who hears nothing; until then what it sends may arrive, and it is online."""
STEADY = 10.0
"""Seconds in which a peer's rhythm becomes known: twenty of its messages."""


async def test_presence_turns_within_its_bound_and_no_healthy_peer_turns(tmp_path: Path) -> None:
    # Those that die have no agent: as peers in the field, only what others hear tells of them.
    async with observed(
        tmp_path, near=7, bare=(3, 4, 5, 6), suspect_ceiling=CEILING, offline_after=OFFLINE_AFTER
    ) as seen:
        fleet = seen.fleet
        healthy, dying = fleet.ids[:3], fleet.ids[3:]
        await asyncio.sleep(STEADY)
        assert seen.states_since(fleet.ids, 0.0) == {PEER_STATE_ONLINE}
        since = time.monotonic()
        await fleet.hosts[3].drop("OUTPUT")
        await fleet.hosts[4].drop("INPUT", "OUTPUT")
        fleet.nodes[5].freeze()
        await fleet.hosts[6].drop("INPUT")
        *mute, deaf = dying
        await until(lambda: all(seen.state(one) != PEER_STATE_ONLINE for one in mute), "suspected",
                    CEILING + REPORT + SLACK)  # fmt: skip
        await seen.until_state(PEER_STATE_OFFLINE, *mute, within=OFFLINE_AFTER + REPORT + SLACK)
        await seen.until_state(PEER_STATE_OFFLINE, deaf, within=IDLE + CEILING + OFFLINE_AFTER + REPORT + SLACK)
        for node_id in dying:
            assert seen.states_since([node_id], since) == {PEER_STATE_SUSPECT, PEER_STATE_OFFLINE}

        def told(number: int) -> dict[str, str]:
            """What this node's agent was told of each peer last."""
            return {str(said["peer"]): str(said["state"]) for said in fleet.nodes[number].all("presence")}

        await until(
            lambda: all(told(number).get(one) == "offline" for number in range(3) for one in dying), "all agree", SLACK
        )
        assert seen.states_since(healthy, since) <= {PEER_STATE_ONLINE}
        listed = {peer.peer_id: peer.state async for peer in seen.client.list_peers("notes")}
        assert listed == {one: PEER_STATE_OFFLINE if one in dying else PEER_STATE_ONLINE for one in fleet.ids}
        assert await seen.metric("gossipcontrol_peers", state=_label(PEER_STATE_OFFLINE)) == len(dying)
        assert await seen.rejoins(CAUSE_ISOLATED, CAUSE_OUTBOUND_ROT, CAUSE_PARTITION) == []


def _label(state: PeerState.ValueType) -> str:
    return PeerState.Name(state).removeprefix("PEER_STATE_").lower()
