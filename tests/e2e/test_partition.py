"""A store falls apart where no host can see it: the service finds out, finds the way back, and makes it one again."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import pytest
from gossipcontrol.v1.decision_pb2 import CAUSE_PARTITION, REJOIN_OUTCOME_VERIFIED

from tests.kit.observed import observed
from tests.kit.until import until

CUT = float(os.environ.get("GOSSIPCONTROL_CUT", "65"))
"""Seconds. The transport gives its peers up after 30, and the dials that follow fail 30 later: from then on an overlay
that nobody helps stays apart for good. The figures of bench/partition are from cuts of 120."""
SHAPES = [tuple(map(int, shape.split("+"))) for shape in os.environ.get("GOSSIPCONTROL_SHAPES", "1+3").split(",")]
HEALED = 30.0
"""Seconds that a busy machine is given; bench/partition holds it to 3."""
BRIDGE_INTERVAL = 2.0
MENDED = 25.0
"""Seconds after the cut by which each side is one."""


@pytest.mark.parametrize(("near", "beyond"), SHAPES)
async def test_both_sides_are_one_again_soon_after_the_path_is_back(tmp_path: Path, near: int, beyond: int) -> None:
    async with observed(tmp_path, near=near, beyond=beyond) as seen:
        fleet = seen.fleet
        cut_at = time.time()
        await fleet.network.cut()
        await asyncio.sleep(CUT)  # how long it lasts is what makes it hard to heal
        assert len(fleet.overlay.components(fleet.ids)) == 2, "the cut was too short to part them"
        await seen.until_metric("gossipcontrol_partitions", 1.0, store="notes")
        # A side whose nodes were linked through the other alone falls apart as well, and is mended meanwhile.
        for one in await seen.rejoins(CAUSE_PARTITION):
            assert _same_side(one.triggers[0].evidence, fleet.sides), "nobody is told to rejoin through a cut"
        dials = fleet.said("sync", cut_at + MENDED)
        assert dials, "somebody must look for a way across"
        assert len(dials) <= 2 * ((CUT - MENDED) / BRIDGE_INTERVAL + 1), "a dial per side and interval, not per node"
        healed_at = time.time()
        await fleet.network.heal()
        took = await fleet.until_parts(1, HEALED) - healed_at
        print(f"{near} + {beyond}: one component {took:.2f} s after a cut of {CUT:g} s, {len(dials)} dials in its end")

        async def verified() -> bool:
            return any(one.outcome == REJOIN_OUTCOME_VERIFIED for one in await seen.rejoins(CAUSE_PARTITION))

        await until(verified, "a rejoin across the cut is proved", HEALED)
        evidence = [one.triggers[0].evidence for one in await seen.rejoins(CAUSE_PARTITION)]
        assert any("falls into" in one and not _same_side(one, fleet.sides) for one in evidence), evidence
        await seen.until_metric("gossipcontrol_partitions", 0.0, store="notes")
        await seen.until_all_online()
        near_ids, beyond_ids = fleet.sides
        for number, node in enumerate(fleet.nodes):
            for peer in beyond_ids if number < near else near_ids:
                await node.wait_for("heard", HEALED, after=healed_at, peer=peer)


def _same_side(evidence: str, sides: tuple[list[str], list[str]]) -> bool:
    """Whether the two of whom one reached the other are on one side of the cable."""
    reached = re.search(r"(\w+) reached (\w+)", evidence)
    return reached is not None and any(set(reached.groups()) <= set(side) for side in sides)
