"""A real full disk under the real service: it says so, accepts nothing, and recovers by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc, peer_knowledge_pb2_grpc
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kit.process import service
from tests.kit.until import DEADLINE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small tmpfs")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here (CAP_SYS_ADMIN is needed): {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", place], check=True)


async def until_health(stub: Any, wanted: int) -> None:
    async with asyncio.timeout(20):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
            if answer.status == wanted:
                return


async def ask_until_refused(stub: gossip_control_pb2_grpc.GossipControlAsyncStub) -> None:
    for _ in range(20_000):
        await stub.Rejoin(gossip_control_pb2.RejoinRequest(node_id="n", store_ids=["a"], request_id=str(uuid.uuid4())))


async def test_a_full_disk_refuses_triggers_until_there_is_room(tmp_path: Path, disk: Path) -> None:
    process = service(None, tmp_path, state_path=str(disk / "state.db"))
    async with process, open_channel(f"unix:{tmp_path}/gossipcontrol.sock") as channel:
        await process.wait_for("serving", DEADLINE)
        stub, health = gossip_control_pb2_grpc.GossipControlStub(channel), health_pb2_grpc.HealthStub(channel)
        first = gossip_control_pb2.RejoinRequest(node_id="n", store_ids=["a"], park_unknown=True)
        await stub.Rejoin(first, wait_for_ready=True)
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * (4 << 20))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask_until_refused(stub)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the state cannot be written" in (refused.value.details() or "")
        await until_health(health, health_pb2.HealthCheckResponse.NOT_SERVING)
        await process.wait_for("state cannot be written", DEADLINE)
        filler.unlink()
        await until_health(health, health_pb2.HealthCheckResponse.SERVING)
        await process.wait_for("state is kept again", DEADLINE)
        await stub.Rejoin(gossip_control_pb2.RejoinRequest(node_id="last", store_ids=["a"], park_unknown=True))
        await process.stop()
        await process.start()
        kept = await stub.ListRejoins(gossip_control_pb2.ListRejoinsRequest(page_size=1000), wait_for_ready=True)
        assert {"n", "last"} <= {rejoin.node_id for rejoin in kept.rejoins}


async def record(stub: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub, start: int) -> pb.RecordIntentionsResponse:
    """Record a thousand intentions of one author, each the successor of the one before."""
    intentions = [
        pb.Intention(author_id="a", hash=b"%032d" % one, store_prev=b"%032d" % (one - 1) if one else b"")
        for one in range(start, start + 1000)
    ]
    batch = pb.IntentionBatch(store_id="s", intentions=intentions)
    request = pb.RecordIntentionsRequest(batch=batch, sender_id="sender", sequence=start // 1000 + 1)
    while True:
        try:
            return await stub.RecordIntentions(iter([request]), wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            # What grpc.aio says, instead of the status, when a stream ends while it writes to it.
            if error.details() != "Internal error from Core":
                raise


async def record_until_refused(stub: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub) -> None:
    for start in range(1000, 200_000, 1000):
        await record(stub, start)


async def test_a_full_disk_refuses_intentions_and_loses_none(tmp_path: Path, disk: Path) -> None:
    process = service(None, tmp_path, state_path=str(disk / "state.db"))
    async with process, open_channel(f"unix:{tmp_path}/gossipcontrol.sock") as channel:
        stub, health = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel), health_pb2_grpc.HealthStub(channel)
        assert (await record(stub, 0)).last_sequence == 1
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * (4 << 20))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await record_until_refused(stub)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the state cannot be written" in (refused.value.details() or "")
        await until_health(health, health_pb2.HealthCheckResponse.NOT_SERVING)
        with pytest.raises(grpc.aio.AioRpcError, match="the state cannot be written"):
            await record(stub, 1000)
        filler.unlink()
        await until_health(health, health_pb2.HealthCheckResponse.SERVING)
        last = (await stub.RecordIntentions(iter([pb.RecordIntentionsRequest(sender_id="sender")]))).last_sequence
        assert 1 <= last < 200
        answer = await record(stub, last * 1000)
        # A batch is recorded in slices, so a part of the one that was refused may be there.
        assert (answer.last_sequence, answer.recorded + answer.known) == (last + 1, 1000)
        before = await stub.GetKnowledge(pb.GetKnowledgeRequest(store_id="s"))
        assert before.rows[0].held == (last + 1) * 1000
        await process.stop(signal.SIGKILL)
        await process.start()
        # Not over the channel to the one that was killed: a call may be sent before that channel notices.
        async with open_channel(f"unix:{tmp_path}/gossipcontrol.sock") as again:
            stub = peer_knowledge_pb2_grpc.PeerKnowledgeStub(again)
            after = await stub.GetKnowledge(pb.GetKnowledgeRequest(store_id="s"), wait_for_ready=True)
        for response in (before, after):
            response.rows[0].ClearField("proof_age_ms")
        assert after == before
