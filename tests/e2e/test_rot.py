"""Rot that no single node can detect: large messages are lost in one direction while every connection looks alive."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gossipcontrol.client import Cause, PeerState

from tests.kit.observed_fleet import SOON, observed
from tests.kit.until import until

SIZE = 900
"""Bytes of each broadcast, above the 600 from which the black hole drops."""
WINDOW = 10.0
"""Seconds over which counts are compared; the default is 30."""
SLACK = 20.0
"""Seconds for a busy machine."""
LADDER = 90.0
"""Seconds within which every rung of the ladder is tried and fails."""


@pytest.mark.waits(60)
async def test_outbound_rot_is_found_escalated_and_healed_and_silence_is_no_rot(tmp_path: Path) -> None:
    async with observed(tmp_path, near=5, silent=(3,), size=SIZE, rot_window=WINDOW, suspicion_cap=10.0) as seen:
        fleet = seen.fleet
        victim, quiet = fleet.ids[4], fleet.ids[3]
        for node in fleet.nodes[:4]:
            await node.wait_for("heard", SOON, peer=victim)
        await fleet.hosts[4].drop_large("OUTPUT")
        found = await seen.until_rejoin(Cause.OUTBOUND_ROT, victim, within=2 * WINDOW + SLACK)
        assert "nobody who could tell has heard its broadcasts" in found.triggers[0].evidence
        assert await seen.metric("gossipcontrol_rot_detected_total", kind="outbound_rot") >= 1
        await until(
            lambda: _rung(seen.fleet.nodes[4].all("command"), "resubscribe"),
            "the rung RESUBSCRIBE is commanded",
            LADDER,
        )
        await seen.until_metric("gossipcontrol_escalations_total", 1.0, LADDER, rung="restart_advised")
        since = time.time()
        await fleet.hosts[4].mend()
        for node in fleet.nodes[:4]:
            await node.wait_for("heard", LADDER, after=since, peer=victim)
        await fleet.nodes[4].wait_for("heard", LADDER, after=since, peer=fleet.ids[0])
        accused = {one.node_id for one in await seen.rejoins(Cause.OUTBOUND_ROT, Cause.INBOUND_ROT)}
        assert accused == {victim}
        assert seen.states_since([quiet], 0.0) == {PeerState.ONLINE}


@pytest.mark.waits(30)
async def test_inbound_rot_is_found_and_healed(tmp_path: Path) -> None:
    async with observed(tmp_path, near=4, size=SIZE, rot_window=WINDOW, suspicion_cap=10.0) as seen:
        fleet = seen.fleet
        victim = fleet.ids[3]
        for peer in fleet.ids[:3]:
            await fleet.nodes[3].wait_for("heard", SOON, peer=peer)
        await fleet.hosts[3].drop_large("INPUT")
        found = await seen.until_rejoin(Cause.INBOUND_ROT, victim, within=2 * WINDOW + SLACK)
        assert "that others heard" in found.triggers[0].evidence
        since = time.time()
        await fleet.hosts[3].mend()
        await fleet.nodes[3].wait_for("heard", LADDER, after=since, peer=fleet.ids[0])
        await fleet.nodes[0].wait_for("heard", LADDER, after=since, peer=victim)
        accused = {one.node_id for one in await seen.rejoins(Cause.OUTBOUND_ROT, Cause.INBOUND_ROT)}
        assert accused == {victim}


def _rung(commands: list[dict[str, object]], rung: str) -> bool:
    return any(str(one["detail"]).startswith(rung) for one in commands)
