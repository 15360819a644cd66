"""A service that says what a test tells it to, over real gRPC, and keeps what the agent said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from gossipcontrol.v1 import attach_pb2, liveness_pb2
from grpc_health.v1 import health, health_pb2_grpc

from tests.kit.address import local_address
from tests.kit.until import until

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Response: TypeAlias = attach_pb2.AttachResponse
_END = attach_pb2.AttachResponse()


class Script:
    """Registers whoever comes; the newest stream gets what is told."""

    def __init__(self) -> None:
        self.registered: list[attach_pb2.Register] = []
        self.synced: list[attach_pb2.SyncResult] = []
        self.neighbors: list[attach_pb2.NeighborEvent] = []
        self.reports: list[liveness_pb2.LivenessReport] = []
        self.rejoined: list[attach_pb2.RejoinResult] = []
        self.restarted: list[attach_pb2.RestartResult] = []
        self.goodbyes: list[attach_pb2.Goodbye] = []
        self.next_report_ms = 60_000
        self.received: list[tuple[int, int]] = []
        """How many commands the agent had received, and the age of the newest, with each frame."""
        self.first: attach_pb2.AttachResponse | None = None
        """What is sent instead of the confirmation of a registration."""
        self.confirms = asyncio.Event()
        """Set: registrations are answered."""
        self.confirms.set()
        self.answers = True
        """Whether every report is answered."""
        self._tell: asyncio.Queue[attach_pb2.AttachResponse] = asyncio.Queue()

    def sync(self, store_id: str, peer_id: str, *addresses: str) -> None:
        """Command a sync."""
        command = attach_pb2.AttachResponse()
        command.sync.store_id, command.sync.peer_id = store_id, peer_id
        command.sync.addresses.extend(addresses)
        self._tell.put_nowait(command)

    def answer(self, store_id: str) -> None:
        """Answer a report of a store."""
        response = attach_pb2.AttachResponse()
        response.ack.view.store_id, response.ack.view.delta = store_id, True
        response.ack.next_report_ms = self.next_report_ms
        self._tell.put_nowait(response)

    def send(self, response: attach_pb2.AttachResponse) -> None:
        """Send any frame."""
        self._tell.put_nowait(response)

    def hang_up(self) -> None:
        """End the stream."""
        self._tell.put_nowait(_END)

    async def attach(
        self, frames: AsyncIterator[attach_pb2.AttachRequest], context: Context
    ) -> AsyncIterator[Response]:
        """Serve one stream."""
        first = await anext(frames)
        self.registered.append(first.register)
        await self.confirms.wait()
        registered = attach_pb2.Registered(session_id="s", next_report_ms=self.next_report_ms)
        yield self.first or attach_pb2.AttachResponse(registered=registered)
        reader = asyncio.create_task(self._read(frames))
        try:
            while (told := await self._tell.get()) is not _END:
                yield told
        finally:
            reader.cancel()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "as the script says")

    async def _read(self, frames: AsyncIterator[attach_pb2.AttachRequest]) -> None:
        async for frame in frames:
            self.received.append((frame.commands_received, frame.command_age_ms))
            match frame.WhichOneof("frame"):
                case "sync_result":
                    self.synced.append(frame.sync_result)
                case "neighbor":
                    self.neighbors.append(frame.neighbor)
                case "rejoin_result":
                    self.rejoined.append(frame.rejoin_result)
                case "restart_result":
                    self.restarted.append(frame.restart_result)
                case "goodbye":
                    self.goodbyes.append(frame.goodbye)
                case "register":
                    self.registered.append(frame.register)
                case "liveness":
                    self.reports.append(frame.liveness)
                    if self.answers:
                        self.answer(frame.liveness.store_id)
                case _:
                    pass

    async def until_synced(self, count: int) -> list[attach_pb2.SyncResult]:
        """The results, once there are so many."""
        await until(lambda: len(self.synced) >= count, f"{count} results have come")
        return self.synced


@asynccontextmanager
async def scripted(directory: Path) -> AsyncGenerator[tuple[Script, str]]:
    """The script as a server, and its address."""
    server, script, address = grpc.aio.server(), Script(), local_address(directory / "script.sock")
    attach = grpc.stream_stream_rpc_method_handler(
        script.attach, attach_pb2.AttachRequest.FromString, attach_pb2.AttachResponse.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("gossipcontrol.v1.GossipControl", {"Attach": attach})
    server.add_generic_rpc_handlers((service,))
    # After a change of the network an agent asks whether its service serves, and leaves one that does not say.
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield script, address
    finally:
        await server.stop(None)
