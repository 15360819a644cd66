"""Nodes fall silent in several ways: their presence changes in time for every watcher, and no other peer's does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gossipcontrol.client import Cause, PeerState

from tests.kit.observed_fleet import SOON, observed
from tests.kit.until import until

CEILING = 6.0
OFFLINE_AFTER = 6.0
REPORT = 2.0
SLACK = 10.0
"""Seconds for a busy machine."""
IDLE = 30.0
"""Seconds after which QUIC drops a peer that receives nothing; until then its messages arrive, and it is online."""
STEADY = 20
"""Messages after which the service knows a peer's rhythm."""


@pytest.mark.waits(45)
async def test_presence_changes_within_its_bound_and_that_of_no_healthy_peer_does(tmp_path: Path) -> None:
    # The dying nodes have no agent: the service knows of them by the reports of others only, as of most peers.
    async with observed(
        tmp_path,
        near=6,
        bare=(3, 4, 5),
        report_ceiling=CEILING / 2,
        suspect_ceiling=CEILING,
        offline_after=OFFLINE_AFTER,
    ) as seen:
        fleet = seen.fleet
        healthy, dying = fleet.ids[:3], fleet.ids[3:]
        await seen.until_heard(STEADY, *dying)
        assert seen.states_since(fleet.ids, 0.0) == {PeerState.ONLINE}
        # A healthy node that is connected through dying ones only would be cut off with them.
        await fleet.until_components(1, SOON, healthy)
        since = time.monotonic()
        await fleet.hosts[3].drop("OUTPUT")
        await fleet.hosts[4].drop("INPUT", "OUTPUT")
        fleet.nodes[5].freeze()
        await until(lambda: all(seen.state(one) != PeerState.ONLINE for one in dying), "every dying node is suspected",
                    CEILING + REPORT + SLACK)  # fmt: skip
        await seen.until_state(PeerState.OFFLINE, *dying, within=OFFLINE_AFTER + REPORT + SLACK)
        for node_id in dying:
            assert seen.states_since([node_id], since) == {PeerState.SUSPECT, PeerState.OFFLINE}

        def view_of(number: int) -> dict[str, str]:
            """The presence of each peer that the agent of this node received last."""
            return {str(line["peer"]): str(line["state"]) for line in fleet.nodes[number].all("presence")}

        await until(
            lambda: all(view_of(number).get(one) == "offline" for number in range(3) for one in dying),
            "every agent has every dying node offline",
            SLACK,
        )
        assert seen.states_since(healthy, since) <= {PeerState.ONLINE}
        listed = {peer.peer_id: peer.state async for peer in seen.client.list_peers("notes")}
        assert listed == {one: PeerState.OFFLINE if one in dying else PeerState.ONLINE for one in fleet.ids}
        assert await seen.metric("gossipcontrol_peers", state=str(PeerState.OFFLINE)) == len(dying)
        assert await seen.rejoins(Cause.ISOLATED, Cause.OUTBOUND_ROT, Cause.PARTITION) == []


@pytest.mark.waits(60)
async def test_a_node_that_receives_nothing_is_online_only_as_long_as_others_hear_it(tmp_path: Path) -> None:
    async with observed(
        tmp_path, near=4, bare=(3,), report_ceiling=CEILING / 2, suspect_ceiling=CEILING, offline_after=OFFLINE_AFTER
    ) as seen:
        *healthy, deaf = seen.fleet.ids
        await seen.until_heard(STEADY, deaf)
        await seen.fleet.until_components(1, SOON, healthy)
        since = time.monotonic()
        await seen.fleet.hosts[3].drop("INPUT")
        await seen.until_state(PeerState.OFFLINE, deaf, within=IDLE + CEILING + OFFLINE_AFTER + REPORT + SLACK)
        assert PeerState.SUSPECT in seen.states_since([deaf], since)
        assert seen.states_since(healthy, since) <= {PeerState.ONLINE}
