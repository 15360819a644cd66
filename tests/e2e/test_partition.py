"""A partition that gives no host a link event: the service detects it, finds the path once it is back, and joins it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import pytest
from gossipcontrol.client import Cause, Outcome

from tests.kit.observed_fleet import QUERY_PAUSE, observed
from tests.kit.until import until

CUT = float(os.environ.get("GOSSIPCONTROL_CUT", "65"))
"""Seconds. The transport drops its peers after 30, and the dials that follow fail 30 later: from then on an overlay
does not heal by itself. bench/partition measures cuts of 120."""
SHAPES = [tuple(map(int, shape.split("+"))) for shape in os.environ.get("GOSSIPCONTROL_SHAPES", "2+2").split(",")]
"""Nodes on each side. One that is alone leaves its endpoint by itself after a minute, and may then need no rejoin."""
HEALED = 30.0
"""Seconds for a busy machine; the target of bench/partition is 3."""
BRIDGE_INTERVAL = 2.0
MENDED = 25.0
"""Seconds after the cut within which each side is one component."""


@pytest.mark.waits(80)
@pytest.mark.parametrize(("near", "beyond"), SHAPES)
async def test_both_sides_are_joined_soon_after_the_path_is_back(tmp_path: Path, near: int, beyond: int) -> None:
    async with observed(tmp_path, near=near, beyond=beyond) as seen:
        fleet = seen.fleet
        cut_at = time.time()
        await fleet.network.cut()
        await asyncio.sleep(CUT)  # the stimulus: only a long cut does not heal by itself
        assert len(fleet.graph.components(fleet.ids)) == 2, "two components at the end of the cut"
        await seen.until_metric("gossipcontrol_partitions", 1.0, store="notes")
        # A side that was connected through the other side only falls apart too, and is joined during the cut.
        for one in await seen.rejoins(Cause.PARTITION):
            assert _same_side(one.triggers[0].evidence, fleet.sides), "a rejoin during the cut joins one side"
        dials = fleet.lines("sync", cut_at + MENDED)
        assert dials, "the service has nodes probe for a path during the cut"
        assert len(dials) <= 2 * ((CUT - MENDED) / BRIDGE_INTERVAL + 1), "at most one probe per side and interval"
        healed_at = time.time()
        await fleet.network.heal()
        took = await fleet.until_components(1, HEALED) - healed_at
        print(f"{near} + {beyond}: one component {took:.2f} s after a cut of {CUT:g} s with {len(dials)} probes")

        async def is_verified() -> bool:
            return any(one.outcome == Outcome.VERIFIED for one in await seen.rejoins(Cause.PARTITION))

        await until(is_verified, "a rejoin because of the partition is verified", HEALED, QUERY_PAUSE)
        evidence = [one.triggers[0].evidence for one in await seen.rejoins(Cause.PARTITION)]
        assert any("falls into" in one and not _same_side(one, fleet.sides) for one in evidence), evidence
        await seen.until_metric("gossipcontrol_partitions", 0.0, store="notes")
        await seen.until_all_online()
        near_ids, beyond_ids = fleet.sides
        for number, node in enumerate(fleet.nodes):
            for peer in beyond_ids if number < near else near_ids:
                await node.wait_for("heard", HEALED, after=healed_at, peer=peer)


def _same_side(evidence: str, sides: tuple[list[str], list[str]]) -> bool:
    """Whether the evidence names a node that reached another on its own side of the cable."""
    reached = re.search(r"(\w+) reached (\w+)", evidence)
    return reached is not None and any(set(reached.groups()) <= set(side) for side in sides)
