"""One stream from the agent to the service, from its registration to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TypeAlias

import grpc
from gossipcontrol.agent.event import AgentEvent
from gossipcontrol.agent.report_builder import age_ms
from gossipcontrol.agent.state import AgentState
from gossipcontrol.client import decode
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.enumeration import Cause, Rung
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2_grpc, liveness_pb2

Call: TypeAlias = "grpc.aio.StreamStreamCall[attach_pb2.AttachRequest, attach_pb2.AttachResponse]"

GOODBYE_TIMEOUT = 1.0
"""Seconds that the service has to acknowledge a goodbye."""
SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 60.0
"""Bounds of the seconds between two reports, whatever the service asks for: it may be wrong, or of another version."""
UNANSWERED = 60.0
"""Seconds after which a report that was never answered holds up the next one of its store no more."""
_logger = logging.getLogger("gossipcontrol.agent")
NETWORK_CAUSES = frozenset({Cause.NETWORK_CHANGE, Cause.RESUME})
"""Causes of a rejoin that tell an agent without a watcher that its host's network changed."""


class Attachment:
    """Register first; then ``read`` and ``write`` side by side, until one of them ends."""

    def __init__(self, state: AgentState, channel: grpc.aio.Channel) -> None:
        stub: gossip_control_pb2_grpc.GossipControlAsyncStub
        stub = gossip_control_pb2_grpc.GossipControlStub(channel)
        self._state = state
        self._call: Call = stub.Attach()
        self.interval = 10.0
        """Seconds between two reports of a store."""
        self._unanswered: dict[str, float] = {}
        """Store -> when its report was sent that the service has not answered yet."""
        self._commands = 0
        """Rejoin commands received on this stream."""
        self._command_at = boottime()
        """When the newest of them was received; before the first, when the node was registered."""

    async def register(self) -> str:
        """Register the node; returns what the service answered; raises ConnectionError when it did not."""
        await self._state.addresses.refresh()
        await self._send(register=self._state.registration())
        frame = await self._call.read()
        if not isinstance(frame, attach_pb2.AttachResponse):
            raise ConnectionError(await self._end())
        if frame.WhichOneof("frame") != "registered":
            raise ConnectionError("the service did not confirm the registration")
        self._state.owner.begin(frame.registered.cell, frame.owner_epoch)
        self._command_at = boottime()
        self.set_interval(frame.registered.next_report_ms)
        self._state.queue.neighbor_events.clear()
        return f"session {frame.registered.session_id}, {frame.registered.unparked} unparked"

    async def read(self) -> None:
        """Handle every frame until the agent leaves; raises ConnectionError when the stream ends before that."""
        while isinstance(frame := await self._call.read(), attach_pb2.AttachResponse):
            if not self._state.owner.admits(frame.owner_epoch):
                continue
            match frame.WhichOneof("frame"):
                case "rejoin":
                    self._commands, self._command_at = self._commands + 1, boottime()
                    self._start_rejoin(frame.rejoin)
                case "sync":
                    self._state.syncs.submit(frame.sync)
                case "ack":
                    self._answered(frame.ack.view.store_id)
                    self.set_interval(frame.ack.next_report_ms)
                    if frame.ack.view.store_id in self._state.stores():
                        self._state.presence.apply(decode.store_view(frame.ack.view))
                case "restart_advice":
                    self._advised(frame.restart_advice)
                case "registered":  # the answer to a further registration
                    pass
                case _:
                    self._state.faults.unknown_frame()
        if not self._state.leaving:
            raise ConnectionError(await self._end())

    async def write(self) -> None:
        """Send what is wanted at once, and every store's report once per interval, however much else is sent.

        A store has one report under way at most: a service that is behind gets no more from an agent that waits.
        """
        queue = self._state.queue
        queue.due.update(self._state.stores())
        reported_at = time.monotonic()
        while True:
            queue.wanted.clear()
            await self._send_wanted()
            if self._state.leaving:
                await self._say_goodbye()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(reported_at + self.interval - time.monotonic()):
                    await queue.wanted.wait()
            if (now := time.monotonic()) >= reported_at + self.interval:
                self._state.presence.keep(self._state.stores())
                queue.due.update(() if self._state.paused else self._state.stores())
                self._state.addresses.look()
                reported_at = now

    async def _send_wanted(self) -> None:
        queue = self._state.queue
        if queue.registration_due():
            await self._send(register=self._state.registration())
        await self._send_results()
        # Only those that wait now: neighbours that come and go faster than they can be told must not hold up reports.
        for _ in range(len(queue.neighbor_events)):
            await self._send(neighbor=queue.neighbor_events.popleft().message(boottime()))
        while (store_id := self._next_due()) is not None:
            queue.due.discard(store_id)
            self._unanswered[store_id] = time.monotonic()
            await self._send(liveness=self._state.report(store_id))

    def _next_due(self) -> str | None:
        """A store whose report is due, and whose last one was answered."""
        before = time.monotonic() - UNANSWERED
        return next((one for one in self._state.queue.due if self._unanswered.get(one, before) <= before), None)

    def _answered(self, store_id: str) -> None:
        """The service has taken a report; what came due meanwhile may leave."""
        self._unanswered.pop(store_id, None)
        if store_id in self._state.queue.due:
            self._state.queue.wanted.set()

    async def _send_results(self) -> None:
        """Send the results of commands; the next stream sends again what a broken stream did not."""
        rejoins, syncs = self._state.rejoins, self._state.syncs
        for key, result in list(rejoins.undelivered.items()):
            await self._send(rejoin_result=result)
            rejoins.undelivered.pop(key, None)
            self._state.emit(AgentEvent("result", result.error or "ok", rejoin_id=result.rejoin_id))
        restarts = self._state.restarts
        for rejoin_id, ended in list(restarts.undelivered.items()):
            await self._send(restart_result=ended)
            restarts.undelivered.pop(rejoin_id, None)
            self._state.emit(AgentEvent("restarted", ended.error or "ended with 0", rejoin_id=rejoin_id))
        while (synced := syncs.next_result()) is not None:
            await self._send(sync_result=synced)
            syncs.delivered(synced)
            self._state.emit(AgentEvent("sync", synced.error or "ok", synced.store_id, peer_id=synced.peer_id))

    async def _say_goodbye(self) -> None:
        await self._send(goodbye=attach_pb2.Goodbye(reason="stopping"))
        await self._call.done_writing()
        # Closing the channel at once would lose the goodbye.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await self._call.code()

    async def _send(
        self,
        *,
        register: attach_pb2.Register | None = None,
        liveness: liveness_pb2.LivenessReport | None = None,
        neighbor: attach_pb2.NeighborEvent | None = None,
        rejoin_result: attach_pb2.RejoinResult | None = None,
        sync_result: attach_pb2.SyncResult | None = None,
        restart_result: attach_pb2.RestartResult | None = None,
        goodbye: attach_pb2.Goodbye | None = None,
    ) -> None:
        frame = attach_pb2.AttachRequest(
            register=register, liveness=liveness, neighbor=neighbor, rejoin_result=rejoin_result,
            sync_result=sync_result, restart_result=restart_result, goodbye=goodbye,
            commands_received=self._commands, command_age_ms=age_ms(self._command_at, boottime()),
        )  # fmt: skip
        await self._call.write(frame)

    def _start_rejoin(self, command: attach_pb2.RejoinCommand) -> None:
        causes, rung = decode.causes(command.causes), Rung(command.rung)
        self._state.faults.check(rung, *causes)
        if not NETWORK_CAUSES.isdisjoint(causes):
            self._state.addresses.network_changed()
        text = f"{_word(str(rung))} because of {', '.join(_word(str(cause)) for cause in causes)}"
        self._state.emit(AgentEvent("command", text, command.store_id, command.rejoin_id))
        self._state.resume()
        self._state.awaiting_proof[command.store_id] = self._command_at
        self._state.rejoins.submit(command)

    def _advised(self, advice: attach_pb2.RestartAdvice) -> None:
        done = self._state.restarts.obey(advice.rejoin_id)
        _logger.warning("the service advises to restart the node: %s; %s", advice.reason, done)
        self._state.emit(AgentEvent("restart", done, advice.store_id, advice.rejoin_id))

    def set_interval(self, milliseconds: int) -> None:
        """Report at the interval that the service asks for, within bounds."""
        self.interval = min(LONGEST_INTERVAL, max(SHORTEST_INTERVAL, decode.seconds(milliseconds)))

    async def failure(self) -> grpc.RpcError | None:
        """What the stream ended with; None: it has not ended, or it ended in order."""
        if not self._call.done() or (code := await self._call.code()) is grpc.StatusCode.OK:
            return None
        initial, trailing = await self._call.initial_metadata(), await self._call.trailing_metadata()
        return grpc.aio.AioRpcError(code, initial, trailing, await self._call.details())

    async def _end(self) -> str:
        return f"{(await self._call.code()).name}: {await self._call.details() or 'the stream ended'}"


def _word(name: str) -> str:
    return name.replace("-", "_")
