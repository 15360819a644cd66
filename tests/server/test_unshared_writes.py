"""A real service turns writes that stay alone into a rejoin."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner
from gossipcontrol.cli.main import main
from gossipcontrol.client import Client, PastTrigger
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Listen, Log, Metrics, State
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2_grpc
from gossipcontrol.v1 import peer_knowledge_pb2 as pb

from tests.kit.service_lab import channel_to


async def test_a_service_starts_a_rejoin_for_an_attached_node(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    config = Config(
        listen=Listen(socket=str(path), tcp=""),
        metrics=Metrics(address=""),
        state=State(backend="memory"),
        knowledge=KnowledgeParameters(unshared_age=1e-6, look_every=0.05),
    )
    app = App(config, make_logger(Log(level="error")))
    await app.start()
    async with channel_to(f"unix:{path}") as channel:
        stub: gossip_control_pb2_grpc.GossipControlAsyncStub = gossip_control_pb2_grpc.GossipControlStub(channel)
        call = stub.Attach()
        register = attach_pb2.Register(node_id="n", store_ids=["s"])
        await call.write(attach_pb2.AttachRequest(register=register))
        await call.read()
        alone = [pb.Intention(author_id=name, hash=name.encode()) for name in ("m", "n")]
        batch = pb.IntentionBatch(store_id="s", intentions=alone)
        await call.write(attach_pb2.AttachRequest(intentions=batch))
        async with asyncio.timeout(60):
            frame = await call.read()
        assert isinstance(frame, attach_pb2.AttachResponse)
        assert (frame.rejoin.store_id, list(frame.rejoin.causes)) == ("s", [decision_pb2.CAUSE_SUSPICION])
        await call.done_writing()
        async with Client(f"unix:{path}") as client:
            # On a slow machine it is suspected again meanwhile: this is the first.
            rejoin = [one async for one in client.list_rejoins()][-1]
            evidence = rejoin.triggers[0].evidence
            assert evidence.startswith("1 write by n that no other peer provably holds for ")
            assert evidence.endswith("; oldest 6e")
            told = (await client.explain(PastTrigger(rejoin_id=rejoin.rejoin_id))).explanations[0]
            assert told.evidence == evidence
            assert f"evidence: {evidence}" in told.message
        for words in (["rejoins"], ["rejoins", "-v"], ["explain", "--rejoin", rejoin.rejoin_id]):
            arguments = [*words, "--address", f"unix:{path}"]
            shown = await asyncio.to_thread(CliRunner().invoke, main, arguments)
            assert f"evidence: {evidence}" in shown.stdout, shown.output
    await app.stop()
