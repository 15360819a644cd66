"""Owners that are stopped and killed under triggers, as processes of their own on a real etcd."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import grpc
import pytest
from gossipcontrol.client import Client

from tests.kit.etcd import needs_etcd, running_etcd
from tests.kit.replicas import CALL_TIME, Fleet, cluster
from tests.kit.until import until
from tests.kit.wall_clock import WallClocks

LOST = 75
HOUR = 3600.0


@needs_etcd
@pytest.mark.waits(15)
@pytest.mark.timeout(300)
async def test_a_stopped_and_a_killed_owner_are_replaced_and_nothing_acknowledged_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wall clocks are set an hour ahead and back meanwhile: no age is an hour, and no request is forgotten."""
    clocks = WallClocks(tmp_path)
    monkeypatch.setenv("PYTHONPATH", clocks.path)
    async with (
        running_etcd(tmp_path) as etcd,
        cluster(tmp_path, etcd.endpoints, 3, deciding_window="0.2", deciding_verify_timeout="0.2") as replicas,
        Fleet(list(replicas.replicas), ["n0", "n1"], 3, pause=0.02) as fleet,
    ):
        first = replicas.owner()
        await until(lambda: set(fleet.attached.values()) == {first} and len(fleet.attached) == 2, "agents attached")
        for address, one in replicas.replicas.items():
            clocks.set(address, -HOUR if address == first else HOUR)
            await one.wait_for("wall clock set", 60)
        await fleet.until_more(30)
        replicas.replicas[first].freeze()
        asked_in_vain = fleet.ask_only(first)
        second = await replicas.until_owner(first)
        await fleet.until_more(30)
        thawed_at = time.monotonic()
        replicas.replicas[first].thaw()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked_in_vain
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await replicas.replicas[first].wait_for("ownership lost", 90)
        assert await replicas.replicas[first].ended() == LOST
        # Bytes that gRPC had in hand when the process was frozen leave after it. What they say was kept before that.
        late = {one.rejoin_id for one in fleet.commands if one.address == first and one.at > thawed_at}
        async with Client(second, timeout=CALL_TIME) as client:
            assert late <= {one.rejoin_id async for one in client.list_rejoins()}, "commands of a replaced owner"

        await until(lambda: set(fleet.attached.values()) == {second} and len(fleet.attached) == 2, "attached again")
        clocks.set(second, -HOUR)
        await replicas.replicas[second].wait_for("wall clock set", 60, count=2)
        await fleet.until_more(30)
        await replicas.replicas[second].stop(signal.SIGKILL)
        third = await replicas.until_owner(second)
        await until(lambda: set(fleet.attached.values()) == {third} and len(fleet.attached) == 2, "attached once more")
        await fleet.until_more(30)
        assert await fleet.lost() == []
        async with Client(third, timeout=CALL_TIME) as client:
            ages = [one.requested_age async for one in client.list_rejoins()]
        assert 0 < max(ages) < HOUR / 2
        assert fleet.repeated() == 0, "no owner commands an attempt twice"
        assert {one.address for one in fleet.commands} == {first, second, third}
