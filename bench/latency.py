"""How long a report takes by each way to the service: gRPC, Connect with JSON, gRPC-Web; one call after another.

The client asks from this process over one connection each, the ways in turns. The report is one of a node that is
attached, so that the service decides each time. Its log is in memory: the disk would be most of every figure.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from statistics import median, quantiles

from gossipcontrol.client.channel import open_blocking_channel
from gossipcontrol.v1 import gossip_control_pb2 as pb
from gossipcontrol.v1 import gossip_control_pb2_grpc as rpc

from bench.h2load import process_seconds
from bench.intentions import ready
from bench.report import Figure, arguments, at_most, show
from tests.kit.ports import free_ports
from tests.kit.process import service
from tests.kit.service_lab import BareAgent, connected
from tests.kit.web_client import SERVICE, TRAILERS, envelope

PATH = f"{SERVICE}ReportNetworkChange"
JSON, GRPC_WEB = "application/json", "application/grpc-web+proto"
NODE = "phone"
Call = Callable[[], object]


def message() -> pb.ReportNetworkChangeRequest:
    """A report that was not sent before."""
    return pb.ReportNetworkChangeRequest(
        request_id=str(uuid.uuid4()), node_ids=[NODE], kind=pb.NETWORK_CHANGE_KIND_FOREGROUND
    )


def over_grpc(address: str, stack: ExitStack) -> Call:
    """A channel of gRPC."""
    stub = rpc.GossipControlStub(stack.enter_context(open_blocking_channel(address)))
    return lambda: stub.ReportNetworkChange(message(), timeout=20)


def over_http(port: int, kind: str, body: Callable[[], bytes], stack: ExitStack) -> Call:
    """A connection of HTTP/1.1 that is kept."""
    connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))

    def call() -> None:
        connection.request("POST", PATH, body(), {"content-type": kind})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        assert kind != GRPC_WEB or data[0] != TRAILERS, "only trailers: it failed"

    return call


def as_json() -> bytes:
    """A report as curl would send it."""
    return json.dumps(
        {"requestId": str(uuid.uuid4()), "nodeIds": [NODE], "kind": "NETWORK_CHANGE_KIND_FOREGROUND"}
    ).encode()


def as_envelope() -> bytes:
    """A report as a browser would send it."""
    return envelope(message().SerializeToString())


def measure(ways: dict[str, Call], calls: int, pid: int) -> dict[str, Figure]:
    """Milliseconds of a call by each way, and CPU time of the service."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    used = dict.fromkeys(ways, 0.0)
    for _ in range(rounds := 10):
        for name, call in ways.items():
            call()
            before = process_seconds(pid)
            for _ in range(calls // rounds):
                started_at = time.perf_counter()
                call()
                took[name].append(1000 * (time.perf_counter() - started_at))
            used[name] += process_seconds(pid) - before
    figures: dict[str, Figure] = {}
    for name, found in took.items():
        figures[f"{name}: median"] = Figure(median(found), "ms")
        figures[f"{name}: 99 of 100"] = Figure(quantiles(found, n=100)[98], "ms")
        figures[f"{name}: CPU of the service"] = Figure(1000 * used[name] / len(found), "ms per call")
    grpc, web = (median(took[name]) for name in ("gRPC, Unix socket", "Connect with JSON"))
    figures["Connect with JSON beside gRPC"] = at_most(web / grpc, "times as long", 3)
    return figures


@asynccontextmanager
async def attached(address: str) -> AsyncGenerator[None]:
    """A node with one store that answers nothing: reports of it are merged into its first rejoin."""
    async with connected(address) as stub:
        agent = BareAgent(stub)
        await agent.register(NODE, "store")
        yield


async def run(directory: Path, calls: int) -> dict[str, Figure]:
    """Measure with a service of its own."""
    tcp, web = free_ports(2)
    settings = {"listen_tcp": f"127.0.0.1:{tcp}", "listen_http": f"127.0.0.1:{web}", "state_backend": "memory"}
    address = f"unix:{directory}/gossipcontrol.sock"
    async with service(None, directory, log_to=directory / "log", **settings) as process:
        await asyncio.to_thread(ready, address)
        async with attached(address):
            with ExitStack() as stack:
                ways = {
                    "gRPC, Unix socket": over_grpc(address, stack),
                    "gRPC, TCP": over_grpc(f"127.0.0.1:{tcp}", stack),
                    "Connect with JSON": over_http(web, JSON, as_json, stack),
                    "gRPC-Web": over_http(web, GRPC_WEB, as_envelope, stack),
                }
                return await asyncio.to_thread(measure, ways, calls, process.pid)


def main() -> None:
    flags = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(run(Path(directory), 500 if flags.quick else 3000))
    show("latency", figures, flags.as_json)


if __name__ == "__main__":
    main()
