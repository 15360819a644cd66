"""Start and stop: sockets and their rights, what is in the way, health, reflection, and a graceful end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from gossipcontrol.client.channel import open_blocking_channel
from gossipcontrol.client.failure import failure
from gossipcontrol.server.config import Limits, Listen, Metrics
from gossipcontrol.server.errors import StartError
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.gossip_control_pb2 import ListStoresRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.kit.service_lab import BareAgent, Service, channel_to, config, connected, refusal, serving
from tests.kit.service_process import service_process
from tests.kit.until import DEADLINE

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listened_on() -> list[str]:
    """Every local TCP address that this machine listens on, in the kernel's notation."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [words[1] for words in lines if words[3] == "0A"]


async def test_the_socket_and_its_directory_are_the_owners_alone(service: Service) -> None:
    path = Path(service.config.listen.socket)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    before = os.umask(0o022)
    os.umask(before)
    assert before != 0o177, "the mask that made the socket must not stay"


async def test_both_addresses_serve(service: Service) -> None:
    for address in (service.address, service.tcp):
        async with connected(address) as stub:
            await stub.ListStores(ListStoresRequest())


async def test_tcp_is_bound_to_loopback_only(service: Service) -> None:
    port = f":{service.app.tcp_port:04X}"
    [address] = [address for address in listened_on() if address.endswith(port)]
    # IPv4, or the same as an IPv6 socket shows it.
    assert address in (f"0100007F{port}", f"0000000000000000FFFF00000100007F{port}")


async def test_without_tcp_only_the_socket_serves(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with serving(replace(settings, listen=replace(settings.listen, tcp=""))) as service:
        assert service.app.tcp_port == 0
        async with connected(service.address) as stub:
            await stub.ListStores(ListStoresRequest())


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "gc.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    async with serving(config(tmp_path)) as service, connected(service.address) as stub:
        await stub.ListStores(ListStoresRequest())
        assert mode(path) == 0o600


async def test_a_socket_in_use_is_not_taken(service: Service, stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="another service is running there"):
        async with serving(config(tmp_path)):
            pass
    await stub.ListStores(ListStoresRequest())
    async with connected(service.address) as newcomer:
        await newcomer.ListStores(ListStoresRequest())


async def test_what_is_in_the_way_is_named(service: Service, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    free = Listen(socket="", tcp="")
    for listen, metrics, what in (
        (replace(free, tcp=service.tcp), Metrics(address=""), f"{service.tcp} cannot be listened on"),
        (replace(free, socket=str(blocked)), Metrics(address=""), "exists and is no socket"),
        (replace(free, socket=str(blocked / "x.sock")), Metrics(address=""), "file is no directory"),
        (replace(free, socket="/" + "x" * 107), Metrics(address=""), "longer than the 107 bytes"),
        (free, Metrics(address=service.tcp), f"metrics.address {service.tcp}: Address already in use"),
    ):
        with pytest.raises(StartError) as caught:
            async with serving(replace(config(tmp_path), listen=listen, metrics=metrics)):
                pass
        assert what in str(caught.value)
    assert blocked.read_text() == ""


async def check(address: str, name: str = "") -> int:
    async with channel_to(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


async def test_health_is_told_for_the_whole_and_for_each_service(service: Service) -> None:
    for name in ("", "gossipcontrol.v1.GossipControl", "gossipcontrol.v1.PeerKnowledge"):
        assert await check(service.address, name) == SERVING
    error = await refusal(check(service.address, "other"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_and_describes_the_services(service: Service) -> None:
    async with channel_to(service.address) as opened:
        channel: Any = opened
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest
        wanted = "gossipcontrol.v1.GossipControl"
        requests = [request(list_services=""), request(file_containing_symbol=wanted)]
        listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    names = {one.name for one in listed.list_services_response.service}
    assert {wanted, "gossipcontrol.v1.PeerKnowledge", "grpc.health.v1.Health"} <= names
    file = FileDescriptorProto.FromString(described.file_descriptor_response.file_descriptor_proto[0])
    [control] = [one for one in file.service if one.name == "GossipControl"]
    assert {method.name for method in control.method} == {
        "Rejoin", "ReportNetworkChange", "PeerLiveness", "Attach", "WatchPeers", "ListPeers", "ListStores",
        "ListRejoins", "Explain", "Forget", "CancelRejoin", "ListReplicas",
    }  # fmt: skip


async def test_a_stop_is_announced_before_streams_end(tmp_path: Path) -> None:
    settings = replace(config(tmp_path), limits=Limits(drain=5.0))
    async with serving(settings) as service, connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        async with channel_to(service.tcp) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == SERVING
            stopping = asyncio.create_task(service.app.stop())
            assert (await watching.read()).status == NOT_SERVING
            watching.cancel()
            code, details = await agent.ended()
            assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the service is stopping")
            await stopping


def watch_health(address: str, serving: threading.Event) -> tuple[list[int], str]:
    """(every status that a client is told, why the call ended); blocking, for gRPC's asyncio drops the last message."""
    told = list[int]()
    with open_blocking_channel(address) as channel:
        try:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for response in health.Watch(health_pb2.HealthCheckRequest()):
                told.append(response.status)
                serving.set()
        except grpc.RpcError as error:
            return told, failure(error).details() or ""
    return told, ""


async def test_a_process_with_open_streams_ends_without_its_drain_time(tmp_path: Path) -> None:
    async with service_process(tmp_path / "gc.sock", GOSSIPCONTROL_LIMITS_DRAIN=str(2 * DEADLINE)) as running:
        await running.until_serving()
        async with connected(running.address) as stub, connected(running.tcp) as other:
            agents = [BareAgent(stub), BareAgent(other)]
            for number, agent in enumerate(agents):
                await agent.register(f"n{number}", "a")
            watching = asyncio.create_task(asyncio.to_thread(watch_health, running.tcp, serving := threading.Event()))
            assert await asyncio.to_thread(serving.wait, DEADLINE)
            assert await running.stop(signal.SIGTERM) == 0
            assert [(await agent.ended())[0] for agent in agents] == [grpc.StatusCode.UNAVAILABLE] * 2
            assert await watching == ([SERVING, NOT_SERVING], "")
        await running.drain()
        events = [line.split("event=")[1].split()[0] for line in running.lines]
        assert events[-1] == "stopped"
        began, ended = (
            datetime.fromisoformat(line.split()[0].removeprefix("timestamp="))
            for line in (running.lines[events.index("stopping")], running.lines[-1])
        )
        assert (ended - began).total_seconds() <= 5.0
        assert not any("Traceback" in line for line in running.lines), running.lines


async def test_a_killed_process_leaves_a_socket_that_the_next_one_replaces(tmp_path: Path) -> None:
    path = tmp_path / "gc.sock"
    async with service_process(path) as first:
        await first.until_serving()
        await first.stop(signal.SIGKILL)
    assert path.is_socket()
    async with service_process(path) as second:
        await second.until_serving()
        async with service_process(path, GOSSIPCONTROL_STATE_PATH=str(tmp_path / "third.db")) as third:
            await third.drain()
            assert await third.process.wait() == 1
            assert "another service is running there" in third.lines[-1]
        async with connected(second.address) as stub:
            await stub.ListStores(ListStoresRequest())
        assert await second.stop(signal.SIGINT) == 0
