"""Ten thousand malformed or hostile requests over every call of both services: the service goes on, unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from gossipcontrol.client.channel import open_blocking_channel
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2, peer_knowledge_pb2
from gossipcontrol.v1.gossip_control_pb2 import ListRejoinsRequest, ListStoresRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.kit.service_lab import BareAgent, channel_to, config, connected, rejoin, serving
from tests.kit.service_process import ServiceProcess, service_process
from tests.kit.until import until

REQUESTS = 10_000
AT_ONCE = 64
ROOM = 150 * 1024 * 1024
"""Bytes by which the process may grow: its books fill up to their bounds, and the allocator keeps some."""
KINDS: dict[str, tuple[str, type[Message]]] = {
    f"/{service.full_name}/{method.name}": (
        f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}",
        method.input_type._concrete_class,
    )
    for file in (gossip_control_pb2, peer_knowledge_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}  # fmt: skip
EXPECTED = frozenset({
    grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED, grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
})  # fmt: skip
CUT_OFF = "Internal error from Core"
"""What gRPC's own client says, instead of the status, when a stream ends while it writes."""
REFUSED = grpc.StatusCode.INVALID_ARGUMENT

# Values that a careless service trips over: empty, at a bound, beyond it, of odd characters, of the largest numbers.
TEXTS = ["", "n", "x" * 128, "x" * 129, "x" * 5000, "\x00", "\n\r\x1b[31m", "é" * 65, "\ufeff", "😀" * 40, "../%s{}"]
NUMBERS = [0, 1, 1000, 1001, 2**31 - 1, 2**32 - 1]
LARGE = [*NUMBERS, 2**63, 2**64 - 1, 2_592_000_000, 2_592_000_001]
ENUMS = [0, 1, 9, 99, -1, 2**31 - 1]


def wild_value(field: Any, draw: random.Random, depth: int) -> Any:
    if field.message_type is not None:
        return wild_message(field.message_type._concrete_class, draw, depth + 1)
    if field.cpp_type == field.CPPTYPE_ENUM:
        return draw.choice(ENUMS)
    if field.type == field.TYPE_BYTES:
        return draw.randbytes(draw.choice([0, 1, 32, 65, 2000]))
    if field.cpp_type == field.CPPTYPE_STRING:
        return draw.choice(TEXTS)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return draw.random() < 0.5
    return draw.choice(LARGE if field.cpp_type == field.CPPTYPE_UINT64 else NUMBERS)


def wild_message(kind: type[Message], draw: random.Random, depth: int = 0) -> Message:
    """A valid message with extreme values in some of its fields."""
    message: Any = kind()
    for field in message.DESCRIPTOR.fields:
        if depth > 3 or draw.random() < 0.4:
            continue
        if field.is_repeated:
            count = draw.choice([0, 1, 2, 20, 1100 if field.message_type is None and not depth else 3])
            values = [wild_value(field, draw, depth) for _ in range(count)]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(wild_value(field, draw, depth))
        else:
            setattr(message, field.name, wild_value(field, draw, depth))
    result: Message = message
    return result


def broken(data: bytes, draw: random.Random) -> bytes:
    """Valid bytes, bent in one place."""
    at = draw.randrange(len(data) + 1)
    match draw.randrange(3):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + draw.randbytes(3) + data[at:]
        case _:
            return data[:at] + draw.randbytes(1) + data[at + 1 :]


def wild_bytes(kind: type[Message], draw: random.Random) -> bytes:
    match draw.randrange(4):
        case 0:
            return draw.randbytes(draw.choice([1, 7, 100, 3000]))
        case 1:
            return broken(wild_message(kind, draw).SerializeToString(), draw)
        case _:
            return wild_message(kind, draw).SerializeToString()


async def strike(channel: Any, method: str, frames: list[bytes]) -> grpc.StatusCode:
    """Send one request, and return how it was answered."""
    shape, _ = KINDS[method]
    open_call = getattr(channel, shape)(method)
    call = open_call(iter(frames), timeout=20) if shape.startswith("stream") else open_call(frames[0], timeout=20)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        if method.endswith("WatchPeers"):
            # What it takes, it answers with a snapshot, and then for ever.
            await call.read()
            call.cancel()
        elif shape.endswith("stream"):
            async for _answer in call:
                pass
        else:
            await call
    code: grpc.StatusCode = await call.code()
    return grpc.StatusCode.CANCELLED if CUT_OFF in (await call.details() or "") else code


async def strike_all(address: str, requests: Iterator[tuple[str, list[bytes]]]) -> dict[grpc.StatusCode, int]:
    """Send all of them, some at once; returns how many were answered how."""
    codes: dict[grpc.StatusCode, int] = {}
    async with channel_to(address) as channel:

        async def work() -> None:
            for method, frames in requests:
                code = await strike(channel, method, frames)
                assert code in EXPECTED, f"{method} ended with {code.name}"
                codes[code] = codes.get(code, 0) + 1

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    return codes


def wild_requests(seed: int, count: int) -> Iterator[tuple[str, list[bytes]]]:
    draw = random.Random(seed)
    methods = list(KINDS)
    for number in range(count):
        method = methods[number % len(methods)]
        shape, kind = KINDS[method]
        frames = [wild_bytes(kind, draw) for _ in range(draw.choice([1, 2, 5]) if shape.startswith("stream") else 1)]
        yield method, frames


async def state(address: str) -> tuple[list[bytes], list[tuple[str, int, int]]]:
    """All that the service shows of what it knows; ages excepted."""
    async with connected(address) as stub:
        stores = (await stub.ListStores(ListStoresRequest(page_size=1000))).stores
        for store in stores:
            store.ClearField("rejoin_age_ms")
            store.ClearField("stalest_age_ms")
            for node in store.nodes:
                node.ClearField("report_age_ms")
        rejoins = (await stub.ListRejoins(ListRejoinsRequest(page_size=1000))).rejoins
        return (
            [store.SerializeToString(deterministic=True) for store in stores],
            [(one.rejoin_id, int(one.outcome), one.trigger_count) for one in rejoins],
        )


async def served(running: ServiceProcess) -> None:
    """The service still does its work: a node attaches, and its rejoin starts."""
    async with connected(running.address) as stub:
        agent = BareAgent(stub)
        await agent.register("healthy", "healthy-store")
        answer = await stub.Rejoin(rejoin("healthy"))
        assert len(answer.decisions) == 1


@contextlib.asynccontextmanager
async def struck(directory: Path) -> AsyncGenerator[ServiceProcess]:
    """A process with small books, that logs what it decides, and is read while it does."""
    limits = {
        "GOSSIPCONTROL_DECIDING_NODE_LIMIT": "500", "GOSSIPCONTROL_LIVENESS_PEERS_PER_STORE": "1000",
        "GOSSIPCONTROL_DECIDING_HISTORY_LIMIT": "1000", "GOSSIPCONTROL_DECIDING_QUEUE_LIMIT": "5000",
    }  # fmt: skip
    async with service_process(directory / "gc.sock", **limits) as running:
        await running.until_serving()
        reading = asyncio.create_task(running.drain())
        try:
            yield running
            assert await running.stop() == 0
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        failures = [line for line in running.lines if "call failed" in line or "Traceback" in line]
        assert not failures, failures[:3]


async def test_ten_thousand_hostile_requests_leave_it_serving_and_bounded(tmp_path: Path) -> None:
    async with struck(tmp_path) as running:
        await strike_all(running.tcp, wild_requests(1, 500))
        before = running.resident()
        codes = await strike_all(running.tcp, wild_requests(2, REQUESTS))
        assert sum(codes.values()) == REQUESTS
        assert codes[REFUSED] > REQUESTS / 10
        assert running.resident() - before < ROOM
        await served(running)


def refused_requests(draw: random.Random, count: int) -> Iterator[tuple[str, list[bytes]]]:
    """Requests with at least one mistake that the contract names, among whatever else they hold."""
    spoilers: list[tuple[str, Callable[[Any], None]]] = [
        ("Rejoin", lambda message: setattr(message, "node_id", "x" * 129)),
        ("Rejoin", lambda message: setattr(message, "request_id", "no uuid")),
        ("ReportNetworkChange", lambda message: setattr(message, "kind", 77)),
        ("ReportNetworkChange", lambda message: setattr(message, "detail", "d" * 300)),
        ("PeerLiveness", lambda message: message.reports.add(node_id="n", store_id="")),
        ("PeerLiveness", lambda message: message.reports.add(node_id="n", store_id="s" * 200)),
        ("PeerLiveness", lambda message: message.sync_results.add(node_id="n", store_id="s")),
        ("WatchPeers", lambda message: setattr(message, "resume_token", "no token")),
        ("WatchPeers", lambda message: setattr(message, "store_id", "x" * 129)),
        ("ListPeers", lambda message: setattr(message, "state", 77)),
        ("ListPeers", lambda message: setattr(message, "page_size", 2000)),
        ("ListStores", lambda message: setattr(message, "page_size", 2000)),
        ("ListRejoins", lambda message: setattr(message, "page_size", 2000)),
        ("Attach", lambda message: setattr(message.goodbye, "reason", "first")),
        ("Attach", lambda message: setattr(message.register, "node_id", "x" * 129)),
    ]
    for number in range(count):
        name, spoil = spoilers[number % len(spoilers)]
        method = f"/gossipcontrol.v1.GossipControl/{name}"
        message = wild_message(KINDS[method][1], draw)
        spoil(message)
        yield method, [message.SerializeToString()]


async def test_refused_requests_change_nothing(tmp_path: Path) -> None:
    async with struck(tmp_path) as running:
        async with connected(running.address) as stub:
            await stub.Rejoin(rejoin("away", "a", "b"))
            await stub.PeerLiveness(
                gossip_control_pb2.PeerLivenessRequest(reports=[liveness_pb2.LivenessReport(node_id="m", store_id="a")])
            )
        before = await state(running.address)
        codes = await strike_all(running.tcp, refused_requests(random.Random(3), 2000))
        assert codes == {REFUSED: 2000}
        assert await state(running.address) == before
        await served(running)


async def test_a_message_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    async with struck(tmp_path) as running:
        huge = rejoin("n" * 5_000_000).SerializeToString()
        method = "/gossipcontrol.v1.GossipControl/Rejoin"
        codes = await strike_all(running.tcp, iter([(method, [huge])] * 5))
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED: 5}
        await served(running)


async def test_a_flood_of_frames_is_taken_or_ends_the_stream(tmp_path: Path) -> None:
    async with struck(tmp_path) as running:
        before = running.resident()
        register = attach_pb2.AttachRequest(register=attach_pb2.Register(node_id="n", store_ids=["a"]))
        peers = [liveness_pb2.PeerObservation(peer_id=f"{number:0128}") for number in range(1000)]
        report = liveness_pb2.LivenessReport(store_id="a", peers=peers)
        async with connected(running.address) as stub:
            agent = BareAgent(stub)
            await agent.call.write(register)

            async def flood() -> None:
                while not agent.call.done():
                    await agent.call.write(attach_pb2.AttachRequest(liveness=report))

            async def cut_off() -> bool:
                stores = (await stub.ListStores(ListStoresRequest())).stores
                return bool(stores) and not stores[0].nodes[0].attached

            flooding = asyncio.create_task(flood())
            await until(cut_off, "the flooding agent is cut off", within=30.0)
            code, details = await agent.ended()
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED or CUT_OFF in details
            await asyncio.gather(flooding, return_exceptions=True)
        assert running.resident() - before < ROOM
        await served(running)


ORDERS = st.lists(
    st.sampled_from(["register", "liveness", "neighbor", "rejoin_result", "sync_result", "goodbye", "intentions", ""]),
    max_size=8,
)


@settings(max_examples=150, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(orders=st.lists(ORDERS, min_size=1, max_size=10), seed=st.integers(0, 2**32))
def collect(orders: list[list[str]], seed: int) -> None:
    draw = random.Random(seed)
    for order in orders:
        frames: list[bytes] = []
        for name in order:
            frame: Any = attach_pb2.AttachRequest()
            if name:
                inner = getattr(frame, name)
                inner.SetInParent()
                if draw.random() < 0.5:
                    inner.CopyFrom(wild_message(inner.DESCRIPTOR._concrete_class, draw, 1))
            if name == "register" and draw.random() < 0.8:
                frame.register.CopyFrom(attach_pb2.Register(node_id=f"n{draw.randrange(4)}", store_ids=["a"]))
            frames.append(frame.SerializeToString())
        STREAMS.append(frames)


STREAMS: list[list[bytes]] = []
"""What hypothesis thought up."""


async def test_frames_in_any_order_leave_it_serving(tmp_path: Path) -> None:
    STREAMS.clear()
    await asyncio.to_thread(collect)
    async with struck(tmp_path) as running:
        attach = "/gossipcontrol.v1.GossipControl/Attach"
        codes = await strike_all(running.tcp, iter([(attach, frames) for frames in STREAMS]))
        assert sum(codes.values()) == len(STREAMS) >= 150
        assert codes[REFUSED] > 0
        await served(running)


async def test_calls_that_pile_up_while_the_loop_is_busy_are_served_not_cancelled(tmp_path: Path) -> None:
    """GRPC cancels calls by chance where more than 1,000 wait, so a flood of one client failed calls of others."""
    async with serving(config(tmp_path)) as service:
        with open_blocking_channel(service.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            # The event loop takes none of them meanwhile, for this does not wait.
            calls = [health.Check.future(health_pb2.HealthCheckRequest()) for _ in range(1600)]
            ended = await asyncio.to_thread(lambda: Counter(call.code() for call in calls))
    assert ended == {grpc.StatusCode.OK: 1600}
