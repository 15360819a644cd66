"""Writes that stay alone raise a suspicion, once; a real service turns it into a rejoin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from click.testing import CliRunner
from gossipcontrol.cli.main import main
from gossipcontrol.client import Client, PastTrigger
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Listen, Log, Metrics, State
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.record import Unshared
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.unshared_writes import UnsharedWriteScanner
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2_grpc
from gossipcontrol.v1 import peer_knowledge_pb2 as pb


class Scene:
    """A book with a clock that is set by hand, and what was suspected."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.book = KnowledgeStore(KnowledgeParameters(unshared_age=60.0))
        self.clock = ServiceClock(wall=lambda: self.now, monotonic=lambda: self.now)
        self.suspector = UnsharedWriteScanner(self.book, self.clock, self.suspect)
        self.found: list[tuple[str, int]] = []
        self.acts = True

    def suspect(self, found: Unshared, now: float) -> bool:
        self.found.append((found.author_id, found.writes))
        return self.acts

    def record(self, *intentions: Intention) -> None:
        self.book.handle(IntentionsRecorded("s", intentions), self.clock.now())

    def look(self, later: float) -> list[tuple[str, int]]:
        self.now += later
        self.found = []
        self.suspector.look("s")
        return self.found


def test_only_old_writes_are_suspicious_and_only_once_in_a_while() -> None:
    scene = Scene()
    scene.record(Intention("n", b"n1"), Intention("n", b"n2", b"n1"), Intention("m", b"m1", b"", (), True))
    assert scene.look(59.0) == []
    assert scene.look(2.0) == [("n", 2)]
    assert scene.look(30.0) == [], "it was suspected already"
    assert scene.look(31.0) == [("n", 2)]
    scene.record(Intention("m", b"m2", b"m1", (b"n2",), True))
    assert scene.look(1000.0) == [], "m holds all now, and its acknowledgements are no writes"


def test_what_nobody_acted_on_is_told_again() -> None:
    scene = Scene()
    scene.record(Intention("n", b"n1"), Intention("m", b"m1", b"", (), True))
    scene.acts = False
    assert scene.look(61.0) == scene.look(1.0) == [("n", 1)]


def test_the_evidence_is_a_sentence() -> None:
    assert Unshared("s", "n", 2, 100.0, bytes(range(32))).say(460.0) == (
        "2 writes by n that no other peer provably holds for 360 s; oldest 00010203"
    )
    assert "1 write by abababababab… that" in Unshared("s", "ab" * 32, 1, 0.0, b"h").say(1.0)


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
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
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
