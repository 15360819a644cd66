"""A store falls apart where no host can see it: the service finds out, finds the way back, and makes it one again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gossipcontrol.v1.decision_pb2 import CAUSE_PARTITION, REJOIN_OUTCOME_VERIFIED

from tests.e2e.observed import observed
from tests.server.lab import until

CUT = float(os.environ.get("GOSSIPCONTROL_CUT", "65"))
"""Seconds. The transport gives its peers up after 30, and the dials that follow fail 30 later: from then on an overlay
that nobody helps stays apart for good. The figures of bench/partition are from cuts of 120."""
SHAPES = [tuple(map(int, shape.split("+"))) for shape in os.environ.get("GOSSIPCONTROL_SHAPES", "1+3").split(",")]
HEALED = 30.0
"""Seconds that a busy machine is given; bench/partition holds it to 3."""
BRIDGE_INTERVAL = 2.0


@pytest.mark.parametrize(("near", "beyond"), SHAPES)
async def test_both_sides_are_one_again_soon_after_the_path_is_back(tmp_path: Path, near: int, beyond: int) -> None:
    async with observed(tmp_path, near=near, beyond=beyond) as seen:
        fleet = seen.fleet
        cut_at, healed_at = await fleet.cut_for(CUT)
        assert len(fleet.overlay.components(fleet.ids)) == 2, "the cut was too short to part them"
        assert await seen.metric("gossipcontrol_partitions", store="notes") == 1
        assert await seen.rejoins(CAUSE_PARTITION) == [], "nobody is told to rejoin through a cut"
        dials = fleet.said("sync", cut_at, healed_at)
        assert dials, "somebody must look for a way across"
        assert len(dials) <= 2 * (CUT / BRIDGE_INTERVAL + 1), "one dial per side and interval, not one per node"
        await fleet.until_parts(1, HEALED)

        async def verified() -> bool:
            return any(one.outcome == REJOIN_OUTCOME_VERIFIED for one in await seen.rejoins(CAUSE_PARTITION))

        await until(verified, "a rejoin across the cut is proved", HEALED)
        (first, *_) = reversed(await seen.rejoins(CAUSE_PARTITION))
        assert "falls into" in first.triggers[0].evidence
        await seen.until_metric("gossipcontrol_partitions", 0.0, store="notes")
        await seen.until_all_online()
        near_ids, beyond_ids = fleet.sides
        for number, node in enumerate(fleet.nodes):
            for peer in beyond_ids if number < near else near_ids:
                await node.wait_for("heard", HEALED, after=healed_at, peer=peer)
