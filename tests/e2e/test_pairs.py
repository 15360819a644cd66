"""Ten nodes, of which each sees five: the pairs that never become neighbours are named, and synced by command."""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path

from gossipcontrol.v1.liveness_pb2 import PEER_STATE_ONLINE

from tests.kit.observed import observed
from tests.kit.until import until

NODES = 10
PAIR_INTERVAL = 20.0
"""Seconds; the default is five minutes."""


async def test_every_pair_meets_or_is_synced_and_the_debt_goes_to_zero(tmp_path: Path) -> None:
    since = time.time()
    async with observed(tmp_path, near=NODES, pair_interval=PAIR_INTERVAL) as seen:
        fleet = seen.fleet

        async def owes() -> bool:
            return await seen.metric("gossipcontrol_pairs_unsynced") > 0

        await until(owes, "some pairs have not met", 30.0)
        await seen.until_metric("gossipcontrol_pairs_unsynced", 0.0, within=90.0)
        synced = {
            frozenset((node_id, str(said["peer"])))
            for node_id, node in zip(fleet.ids, fleet.nodes, strict=True)
            for said in node.all("sync", after=since, detail="ok")
        }
        pairs = {frozenset(pair) for pair in combinations(fleet.ids, 2)}
        strangers = pairs - fleet.overlay.ever
        assert strangers, "an active view of five cannot hold nine"
        assert strangers <= synced
        assert len(pairs - strangers - synced) > 0, "neighbours need no command"
        assert seen.states_since(fleet.ids, 0.0) == {PEER_STATE_ONLINE}
