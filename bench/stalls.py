"""The longest stalls of the event loop of a whole service with 20,000 attached nodes of 10 stores each.

The service runs in this process, with all it has: its log in a file, snapshots, pages, and its collector. Two cores
cannot hold both ends of 20,000 connections, so the streams begin where gRPC hands them over: each is served as gRPC
would have it, by a task that reads frames and writes answers. gRPC's own work in the event loop is left out. A stall is
one pass of the loop, in CPU seconds of its thread, beyond 10 ms; the callback that took longest of it is named.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from gossipcontrol.server.access.identity import LOCAL
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Limits, Listen, Log, Metrics, State
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.errors import GossipControlError
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.runtime.collector import Collector
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2

from bench.attached_agents import carried_out, groups, observed
from bench.measured_service import MeasuredLoop, measure_callbacks
from bench.memory import resident
from bench.report import Figure, arguments, at_most, show
from tests.kit.http import fetch

TARGET = 10.0
"""Milliseconds of the longest pass."""
FED = 10
"""Frames that come in one pass."""
WITHIN = 900.0
"""Seconds that a phase may take."""
PAGES = (
    "/metrics", "/api/overview", "/api/stores", "/api/peers?store=s0-0", "/api/rejoins", "/api/graph?store=s0-0",
    "/debug/connections", "/debug/memory", "/debug/tasks",
)  # fmt: skip


class Stream:
    """One node's stream, as gRPC would hand it over: frames to iterate over, and the context of its call."""

    def __init__(self, node: int, shared: dict[str, list[str]]) -> None:
        self.node = node
        self.shared = shared
        self.identity = LOCAL
        self.registered = False
        self.answered = 0
        self.task: asyncio.Task[None] | None = None
        self._versions: dict[str, int] = {}
        self._frames: deque[attach_pb2.AttachRequest | None] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def peer(self) -> str:
        """Every call over the Unix socket has an account of its own."""
        return f"unix:{self.node}"

    def feed(self, frame: attach_pb2.AttachRequest | None) -> None:
        """A frame has come; None: the client has ended the stream."""
        self._frames.append(frame)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def register(self) -> None:
        """The first frame."""
        stores = list(self.shared)
        register = attach_pb2.Register(node_id=f"a{self.node}", host_id=f"h{self.node}", store_ids=stores)
        self.feed(attach_pb2.AttachRequest(register=register))

    def report(self, store_id: str) -> None:
        """A report of a store."""
        report = observed(store_id, self.shared[store_id], self._versions.get(store_id, 0))
        self.feed(attach_pb2.AttachRequest(liveness=report))

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Let no more frames be read."""
        self._frames.clear()

    async def __anext__(self) -> attach_pb2.AttachRequest:
        while not self._frames:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        frame = self._frames.popleft()
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def write(self, frame: attach_pb2.AttachResponse) -> None:
        """Take an answer; a command is carried out at once."""
        match frame.WhichOneof("frame"):
            case "registered":
                self.registered = True
            case "ack":
                self.answered += 1
                self._versions[frame.ack.view.store_id] = frame.ack.view.version
            case "rejoin":
                self.feed(carried_out(frame.rejoin))
            case _:
                pass


class Fleet:
    """All streams of a service in this process."""

    def __init__(self, app: App, nodes: int, stores: int) -> None:
        self._service: Any = app._service  # pyright: ignore[reportPrivateUsage] # what gRPC is given
        self._turns = app._turns  # pyright: ignore[reportPrivateUsage]
        self.streams = [Stream(node, shared) for node, shared in enumerate(groups(nodes, stores))]

    async def attach(self, streams: Iterable[Stream]) -> None:
        """Open a stream for each node, and register it."""
        opened = list[Stream]()
        for number, stream in enumerate(streams):
            stream.registered = False
            stream.task = asyncio.create_task(self._serve(stream))
            stream.register()
            opened.append(stream)
            if number % FED == 0:
                await asyncio.sleep(0)
            if number >= 10 * FED:
                await _until(partial(_is_registered, opened[number - 10 * FED]))
        await _until(lambda: opened[-1].registered)
        for stream in opened:
            if not stream.registered:
                await _until(partial(_is_registered, stream))

    async def report(self, streams: Sequence[Stream]) -> None:
        """Have each report all its stores, as fast as they are answered."""
        sent = deque[tuple[Stream, int]]()
        for number, (stream, store_id) in enumerate((one, store) for one in streams for store in one.shared):
            stream.report(store_id)
            sent.append((stream, stream.answered))
            if number % FED == 0:
                await asyncio.sleep(0)
            if len(sent) > 20 * FED:
                await _until(partial(_has_answered, *sent.popleft()))
        while sent:
            await _until(partial(_has_answered, *sent.popleft()))

    async def change(self, streams: Sequence[Stream], generation: int) -> None:
        """Have every host report a change, 200 of them waiting for their answers."""
        waiting = set[asyncio.Task[None]]()
        for stream in streams:
            waiting.add(asyncio.create_task(self._change(stream, generation)))
            if len(waiting) >= 200:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(waiting)

    async def leave(self, streams: Sequence[Stream], at_once: int) -> None:
        """End streams without a goodbye, so many in each pass."""
        for number, stream in enumerate(streams):
            if stream.task is not None:
                stream.task.cancel()
            if number % at_once == 0:
                await asyncio.sleep(0)
        await asyncio.wait([stream.task for stream in streams if stream.task is not None])

    async def _serve(self, stream: Stream) -> None:
        with self._turns.call(stream.peer()) as call, suppress(GossipControlError):
            await call.run(lambda: self._service.Attach(stream, stream))

    async def _change(self, stream: Stream, generation: int) -> None:
        request = gossip_control_pb2.ReportNetworkChangeRequest(
            host_id=f"h{stream.node}", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED, boot_id="b",
            generation=generation,
        )  # fmt: skip
        with self._turns.call(stream.peer()) as call:
            await call.run(lambda: self._service.ReportNetworkChange(request, stream))


def _is_registered(stream: Stream) -> bool:
    return stream.registered


def _has_answered(stream: Stream, before: int) -> bool:
    return stream.answered > before


async def _until(is_met: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not is_met():  # noqa: ASYNC110 - in the event loop that is measured
            await asyncio.sleep(0)


class Lab:
    """The service, its fleet, and what was seen of its event loop."""

    def __init__(self, app: App, fleet: Fleet, loop: MeasuredLoop) -> None:
        self.app = app
        self.fleet = fleet
        self.figures: dict[str, Figure] = {}
        self._loop = loop

    async def phase(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Measure what is done meanwhile."""
        await asyncio.sleep(0)
        self._loop.begin()
        began, used = time.monotonic(), time.thread_time()
        await asyncio.wait_for(work(), WITHIN)
        longest, stalls = self._loop.longest * 1000, sorted(self._loop.stalls, reverse=True)
        took, used = time.monotonic() - began, time.thread_time() - used
        memory, books = resident() / 1e6, self.app.accounted_bytes() / 1e6
        print(
            f"{name}: {took:.1f} s, {used:.1f} s of CPU, {memory:.0f} MB ({books:.0f} in books), {len(stalls)} stalls",
            file=sys.stderr,
            flush=True,
        )
        for one in stalls[:5]:
            print(f"  {one}", file=sys.stderr, flush=True)
        where = f" ({stalls[0].name}, {stalls[0].took * 1000:.1f} ms)" if stalls else ""
        self.figures[f"{name}, longest pass{where}"] = at_most(longest, "ms of CPU", TARGET)
        self.figures[f"{name}, passes above"] = Figure(len(stalls), "passes")


async def measure(nodes: int, stores: int, directory: Path, loop: MeasuredLoop) -> dict[str, Figure]:
    """All phases."""
    deciding = Parameters(queue_limit=nodes * stores + 1)
    config = Config(
        listen=Listen(socket=str(directory / "gc.sock"), tcp=""), metrics=Metrics(address="127.0.0.1:0"),
        state=State(path=str(directory / "state.db")), limits=Limits(memory=4_000_000_000), deciding=deciding,
        log=Log(),
    )  # fmt: skip
    lines = (directory / "log").open("w", encoding="utf-8")
    app, collector = App(config, Logger(config.log, lines)), Collector()
    await app.start()
    fleet = Fleet(app, nodes, stores)  # before the collector begins: what the bench keeps is no growth
    collector.tune()
    collector.start(app.accounted_bytes)
    try:
        return await _phases(Lab(app, fleet, loop))
    finally:
        collector.close()


async def _phases(lab: Lab) -> dict[str, Figure]:
    fleet = lab.fleet
    everybody, half = fleet.streams, fleet.streams[: len(fleet.streams) // 2]
    some = everybody[:: max(1, len(everybody) // 500)]

    async def read_pages() -> None:
        for path in PAGES:
            address = f"http://127.0.0.1:{lab.app.metrics_port}{path}"
            began = time.monotonic()
            await asyncio.to_thread(fetch, address, WITHIN)
            print(f"  {path}: {(time.monotonic() - began) * 1000:.0f} ms", file=sys.stderr)

    await lab.phase("all attach", lambda: fleet.attach(everybody))
    await lab.phase("first reports", lambda: fleet.report(everybody))
    await lab.phase("further reports", lambda: fleet.report(some))
    await lab.phase("every host changes", lambda: fleet.change(everybody, 1))
    await lab.phase("10 s after it", lambda: asyncio.sleep(10))
    await lab.phase("pages", read_pages)
    await lab.phase("half leave at once", lambda: fleet.leave(half, 1000))
    await lab.phase("10 s after that", lambda: asyncio.sleep(10))
    await lab.phase("they come back", lambda: fleet.attach(half))
    await lab.phase("and report", lambda: fleet.report(half))
    await lab.phase("20 s of nothing", lambda: asyncio.sleep(20))
    lab.figures["resident memory"] = Figure(resident() / 1e6, "MB")
    return lab.figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nodes", type=int, default=20_000, help="attached nodes (20000)")
    chosen = parser.parse_args()
    nodes, stores = (1000 if chosen.quick else chosen.nodes), 10
    loop = MeasuredLoop()
    measure_callbacks(loop)
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as name:
        directory = Path(name)
        with asyncio.Runner(loop_factory=lambda: cast("asyncio.AbstractEventLoop", loop)) as runner:
            figures = runner.run(measure(nodes, stores, directory, loop))
    show("stalls", figures, chosen.as_json)


if __name__ == "__main__":
    main()
