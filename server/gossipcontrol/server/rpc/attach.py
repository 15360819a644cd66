"""An agent's stream from its registration to its end: reads frames, and lets the session send commands."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from gossipcontrol.server.core.effect import AcceptNode, RefuseNode
from gossipcontrol.server.core.event import NodeAttached, NodeDetached
from gossipcontrol.server.drivers.driver import Driver, Result
from gossipcontrol.server.errors import InvalidRequest, Overloaded, Replaced
from gossipcontrol.server.rpc.intention_source import IntentionSource
from gossipcontrol.server.rpc.interceptor import CallerContext
from gossipcontrol.server.rpc.refusal import check_admitted
from gossipcontrol.server.rpc.report_answer import ReportAnswers
from gossipcontrol.server.rpc.session import QueuedBytes, Run, Session
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.runtime.turns import current_identity, metered, wait_for_room
from gossipcontrol.server.wire import decode, decode_presence, decode_report, encode
from gossipcontrol.server.wire.source import vouch
from gossipcontrol.server.wire.unrecognized import Note, unknown_field
from gossipcontrol.v1 import attach_pb2

REGISTER_TIME = 10.0
"""Seconds within which a stream must register its node."""
UNREGISTERED = 1024
"""Most streams of one connection that have not registered their node yet; each takes 40 kB."""
REGISTER_RETRY = 1.0
"""Seconds after which a stream beyond them may be opened again: each of the 1,024 ends by itself within 10 s, and those
of one connection rarely began at once. Overloaded adds jitter, as to every delay here."""

Frames = AsyncIterator[attach_pb2.AttachRequest]
Write = Callable[[attach_pb2.AttachResponse], Awaitable[None]]


class AgentStreams:
    """Serves every agent's stream."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        driver: Driver,
        knowledge: KnowledgeDispatcher,
        answers: ReportAnswers,
        run: Run,
        note: Note,
        on_shed: Callable[[], None],
        source: IntentionSource,
    ) -> None:
        self._note = note
        self._source = source
        self._on_shed = on_shed
        self._dispatcher = dispatcher
        self._clock = dispatcher.clock
        self._driver = driver
        self._knowledge = knowledge
        self._answers = answers
        self._unregistered: Counter[str] = Counter()
        """Streams that have not registered yet, by connection."""
        self.queued = QueuedBytes()
        self._run = run
        self._session_ids = (f"{run.run_id}-s{number}" for number in itertools.count(1))
        self.hands_over = False
        """Whether another replica goes on: streams that end from now on do not mean that their agents are gone."""

    @property
    def unregistered(self) -> int:
        """Number of streams that have not registered their node."""
        return self._unregistered.total()

    async def serve(self, frames: Frames, context: CallerContext) -> None:
        """Serve one stream until either side ends it; raises the error that it ends with."""
        peer = context.peer()
        with self._registering(peer):
            register = await self._first_frame(frames)
        await wait_for_room()  # as many nodes as come back at once
        session = Session(register.node_id, next(self._session_ids), queued=self.queued, epoch=self._run.epoch)
        session.speaker, session.peer = current_identity(), peer
        await self._register(session, register)
        reader = asyncio.create_task(metered(self._read(frames, session, context)))
        try:
            await session.deliver(context.write)
        finally:
            session.close()
            reader.cancel()
            self._dispatcher.soon(partial(self._end, session, tells=session.left or not self.hands_over))

    def _end(self, session: Session, *, tells: bool) -> None:
        """Act through a session no more; ``tells``: its agent is gone."""
        self._driver.detach(session)
        if tells:
            self._dispatcher.submit(NodeDetached(session.node_id, session.session_id, session.left))

    @contextmanager
    def _registering(self, peer: str) -> Generator[None]:
        """Count a stream while it registers; raises Overloaded when too many of its connection do."""
        if self._unregistered[peer] >= UNREGISTERED:
            raise Overloaded(f"{UNREGISTERED} streams of this connection have not registered yet", REGISTER_RETRY)
        self._unregistered[peer] += 1
        try:
            yield
        finally:
            self._unregistered[peer] -= 1
            if not self._unregistered[peer]:
                del self._unregistered[peer]

    async def _first_frame(self, frames: Frames) -> attach_pb2.Register:
        """The registration with which every stream begins; raises InvalidRequest."""
        try:
            async with asyncio.timeout(REGISTER_TIME):
                async for frame in frames:
                    if frame.WhichOneof("frame") == "register":
                        return frame.register
                    if frame.WhichOneof("frame") is not None or not unknown_field(frame):
                        break
                    self._ignore(frame)
        except TimeoutError:
            raise InvalidRequest([("frame", f"register must arrive within {REGISTER_TIME:g} s")]) from None
        raise InvalidRequest([("frame", "the first frame must be register")])

    async def _register(self, session: Session, register: attach_pb2.Register) -> None:
        event = decode.node_attached(register, session.session_id, self._note)
        if session.speaker:
            vouched = vouch(event.addresses, session.peer)
            event = replace(event, speaker=session.speaker, **vouched._asdict())
        if register.node_id != session.node_id:
            raise InvalidRequest([("register.node_id", f"must stay {session.node_id} on one stream")])
        self._dispatcher.outbox.check()
        session.capabilities = event.capabilities
        # Before the event, because the core may start parked rejoins at once; undone if the node is refused.
        replaced = self._driver.attach(session)
        accepted = await self._admit(session, event, replaced)
        session.send(encode.registered(accepted, self._answers.next_report_ms(self._clock.now()), self._run.cell))
        if replaced is not None:
            replaced.cut(Replaced("a newer stream of this node has attached"))

    async def _admit(self, session: Session, event: NodeAttached, replaced: Session | None) -> AcceptNode:
        """Have the core accept the node; otherwise undo the attachment and raise why."""
        try:
            effects = await self._dispatcher.settle(event)
        except BaseException:
            self._driver.detach(session)
            self._dispatcher.submit(NodeDetached(session.node_id, session.session_id))
            if replaced is not None:
                replaced.cut(Replaced("a newer stream of this node attached and ended"))
            raise
        for effect in effects:
            if isinstance(effect, AcceptNode):
                return effect
            if isinstance(effect, RefuseNode):
                if replaced is not None and self._driver.is_current(session):  # else a third stream has attached
                    self._driver.attach(replaced)
                else:
                    self._driver.detach(session)
                raise Overloaded(effect.reason, effect.retry_in)
        raise AssertionError("the core accepts or refuses every registration")

    async def _read(self, frames: Frames, session: Session, context: CallerContext) -> None:
        try:
            async for frame in frames:
                await wait_for_room()
                # A replaced stream may deliver frames that its agent wrote long ago: it speaks for the node no more.
                if self._driver.is_current(session):
                    await self._handle(session, frame, context)
        except Exception as error:  # noqa: BLE001 - the call ends with it, and the interceptor reports and counts it
            session.close(error)
        finally:
            session.close()

    async def _handle(self, session: Session, frame: attach_pb2.AttachRequest, context: CallerContext) -> None:
        """Handle one frame; raises InvalidRequest, Overloaded or StateFailing."""
        session.commands.record_frame(self._answers.next_report_ms(self._clock.now()) / 1000)
        match frame.WhichOneof("frame"):
            case "liveness":
                self._report(session, frame)
            case "neighbor":
                delay = _delay(session, frame, frame.neighbor.store_id)
                event = decode.neighbor_changed(frame.neighbor, session.node_id, self._clock.now())
                event = replace(event, delay=delay, speaker=session.speaker)
                check_admitted(self._dispatcher.submit(event).effects)
            case "rejoin_result":
                self._finish(session, frame.rejoin_result)
            case "restart_result":
                self._dispatcher.submit(decode.restart_finished(frame.restart_result, session.node_id))
            case "register":
                await self._register(session, frame.register)
            case "goodbye":
                decode.check_goodbye(frame.goodbye)
                session.left = True
                session.close()
            case "sync_result":
                finished = decode_presence.sync_finished(frame.sync_result, session.node_id)
                self._dispatcher.submit(replace(finished, speaker=session.speaker))
            case "intentions":
                batch = await self._source.read(frame.intentions, "intentions.", context.identity)
                await self._knowledge.submit(batch)
            case None:
                self._ignore(frame)

    def _ignore(self, frame: attach_pb2.AttachRequest) -> None:
        """Ignore a frame of a newer agent; raises InvalidRequest for one that is empty."""
        number = unknown_field(frame)
        if not number:
            raise InvalidRequest([("frame", "must be given")])
        self._note("frame", number)

    def _report(self, session: Session, frame: attach_pb2.AttachRequest) -> None:
        report = frame.liveness
        delay = _delay(session, frame, report.store_id)
        now = self._clock.now()
        event = decode_report.agent_liveness(report, session.node_id, now, self._note)
        event = replace(event, delay=delay, speaker=session.speaker)
        interval = self._answers.next_report(now)
        if not event.going_to_sleep and session.reports.sheds(report.store_id, event.delay, interval, now):
            self._on_shed()
            view = self._answers.unchanged(report.store_id, report.known_version)
        else:
            check_admitted(self._dispatcher.submit(event).effects)
            view = self._answers.view(report.store_id, report.known_version, now)
        ack = attach_pb2.LivenessAck(view=view, next_report_ms=self._answers.next_report_ms(now))
        session.send(attach_pb2.AttachResponse(ack=ack))

    def _finish(self, session: Session, result: attach_pb2.RejoinResult) -> None:
        decode.check_rejoin_result(result)
        outcome = Result(result.ok, result.error, result.permanent)
        session.commands.record_answer((result.rejoin_id, result.attempt))
        self._driver.finish(session.node_id, result.rejoin_id, result.attempt, outcome)


def _delay(session: Session, frame: attach_pb2.AttachRequest, store_id: str) -> float:
    """At most so many seconds ago this frame was written, as its agent says or, if it is older, as may be assumed.

    It is asked for before the service time is: a pause of the process between the two would else make the frame look
    older than the command that it answers, and its proof would count for nothing.
    """
    if not frame.HasField("commands_received"):
        return session.commands.assumed_delay(store_id)
    return session.commands.delay(store_id, frame.commands_received, frame.command_age_ms / 1000)
