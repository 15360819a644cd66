"""Ten nodes with five neighbours each: the service has the pairs that never become neighbours sync by command."""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path

import pytest
from gossipcontrol.client import PeerState

from tests.kit.observed_fleet import QUERY_PAUSE, observed
from tests.kit.until import until

NODES = 10
PAIR_INTERVAL = 20.0
"""Seconds; the default is five minutes."""


@pytest.mark.waits(35)
async def test_every_pair_becomes_neighbours_or_syncs_by_command(tmp_path: Path) -> None:
    since = time.time()
    async with observed(tmp_path, near=NODES, pair_interval=PAIR_INTERVAL) as seen:
        fleet = seen.fleet

        async def has_unsynced_pairs() -> bool:
            return await seen.metric("gossipcontrol_pairs_unsynced") > 0

        await until(has_unsynced_pairs, "some pairs are unsynced", 30.0, QUERY_PAUSE)
        await seen.until_metric("gossipcontrol_pairs_unsynced", 0.0, within=90.0)
        synced = {
            frozenset((node_id, str(line["peer"])))
            for node_id, node in zip(fleet.ids, fleet.nodes, strict=True)
            for line in node.all("sync", after=since, detail="ok")
        }
        pairs = {frozenset(pair) for pair in combinations(fleet.ids, 2)}
        apart = pairs - fleet.graph.ever
        assert apart, "some pairs are never neighbours: an active view of five cannot hold nine"
        assert apart <= synced, f"never neighbours and never synced: {apart - synced}"
        assert len(pairs - apart - synced) > 0, "some neighbours sync without a command"
        assert seen.states_since(fleet.ids, 0.0) == {PeerState.ONLINE}
