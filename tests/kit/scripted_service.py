"""The real service with scripted liveness in its core."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gossipcontrol.server.core import core
from gossipcontrol.server.core.diagnosis.rot_budget import StartRate
from gossipcontrol.server.core.finding import Finding
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.gossip_control_pb2 import PeerLivenessRequest, PeerLivenessResponse
from gossipcontrol.v1.liveness_pb2 import LivenessReport

from tests.kit.scripted_liveness import ScriptedLiveness
from tests.kit.service_lab import Service, config, connected, deciding, serving


@dataclass
class Scene:
    """The service, its scripted liveness, and a stub."""

    service: Service
    liveness: ScriptedLiveness
    stub: gossip_control_pb2_grpc.GossipControlAsyncStub

    async def find(self, *findings: Finding) -> None:
        """Let liveness return these findings now."""
        self.liveness.script += findings
        await self.report("finder")

    async def report(self, node_id: str, store_id: str = "finders", **fields: Any) -> PeerLivenessResponse:
        """Send one report of a node without an agent."""
        reports = [LivenessReport(node_id=node_id, store_id=store_id)]
        return await self.stub.PeerLiveness(PeerLivenessRequest(reports=reports, **fields))

    async def change(self, store_id: str, *changes: tuple[str, PeerState | None]) -> None:
        """Change the states of peers now."""
        for peer_id, state in changes:
            self.liveness.put(store_id, peer_id, state)
        self.liveness.changed(store_id)
        await self.report("finder")


@asynccontextmanager
async def scripted(directory: Path, **sections: Any) -> AsyncGenerator[Scene]:
    """Run the service."""
    made: list[ScriptedLiveness] = []

    def make(parameters: LivenessParameters, starts: StartRate) -> ScriptedLiveness:
        del starts
        made.append(ScriptedLiveness(parameters))
        return made[-1]

    settings = config(directory, **{"deciding": deciding(), **sections})
    with patch.object(core, "Liveness", make):
        async with serving(settings) as service, connected(service.address) as stub:
            yield Scene(service, made[0], stub)
