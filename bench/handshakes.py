"""How fast agents attach to a hub over mutual TLS, what a handshake costs it, and whether sessions are resumed.

Each agent has a connection and an Attach stream of its own, from processes beside the hub; all of them show the same
certificate. The same over plain TCP says what TLS adds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gossipcontrol.client import Credentials
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2_grpc

from bench import h2load
from bench.hub import HubFiles, found, hub
from bench.report import Figure, arguments, at_most, run, show
from tests.kit.ports import free_ports
from tests.kit.process import Process

WORKERS = 4
"""Processes that attach agents."""
AT_ONCE = 16
"""Agents that a worker attaches at once."""
MINUTE = 60
"""Seconds in which ten thousand agents are to be attached again, by the CPU of one core."""
LOAD = "--load"


async def attach_all(address: str, name: str, agents: int, shown: Credentials) -> None:
    """Attach agents, say so, and hold them until standard input ends."""
    room, held = asyncio.Semaphore(AT_ONCE), list[object]()
    async with AsyncExitStack() as stack:

        async def attach(number: int) -> None:
            async with room:
                channel = await stack.enter_async_context(open_channel(address, credentials=shown))
                stub: Any = gossip_control_pb2_grpc.GossipControlStub(channel)
                call = stub.Attach()
                held.append(call)
                register = attach_pb2.Register(node_id=f"{name}-{number}", store_ids=["notes"])
                await call.write(attach_pb2.AttachRequest(register=register))
                answer = await call.read()
                if not isinstance(answer, attach_pb2.AttachResponse):
                    raise TypeError(f"refused: {await call.details()}")

        print('{"event": "begin"}', flush=True)
        await asyncio.gather(*map(attach, range(agents)))
        print('{"event": "attached"}', flush=True)
        await asyncio.Event().wait()


async def measure(agents: int, handshakes: int) -> dict[str, Figure]:
    """Attach over plain TCP and over mutual TLS, each to a new hub, then shake hands without calls."""
    shown: dict[str, Figure] = {}
    costs: dict[str, float] = {}
    for way in ("tcp", "tls"):
        with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as place:
            directory = Path(place)
            files = found(directory)
            [port] = free_ports(1)
            async with hub(directory, files, **{f"listen_{way}": f"127.0.0.1:{port}"}) as serving:
                await _listening(port)
                address = f"{'tls:localhost' if way == 'tls' else '127.0.0.1'}:{port}"
                rate, costs[way] = await _attach(address, agents, files, serving.pid)
                what = "mutual TLS" if way == "tls" else "plain TCP"
                shown[f"agents attached, {what}"] = Figure(agents, "agents")
                shown[f"rate, {what}"] = Figure(rate, "agents/s")
                shown[f"hub's CPU per agent, {what}"] = Figure(costs[way] * 1e3, "ms")
                if way == "tls":
                    shown |= await asyncio.to_thread(_handshakes, port, files, handshakes, serving.pid)
    shown["hub's CPU for ten thousand agents, mutual TLS"] = at_most(costs["tls"] * 10_000, "s", MINUTE)
    shown["hub's CPU per agent that TLS adds"] = Figure((costs["tls"] - costs["tcp"]) * 1e3, "ms")
    return shown


async def _attach(address: str, agents: int, files: HubFiles, pid: int) -> tuple[float, float]:
    """(agents per second, the hub's CPU seconds per agent)."""
    each = agents // WORKERS
    async with AsyncExitStack() as stack:
        workers = [
            Process(
                f"load {number}", sys.executable, "-m", "bench.handshakes", LOAD, address, f"n{number}", str(each),
                files.credentials.authority, files.credentials.certificate, files.credentials.key,
            )
            for number in range(WORKERS)
        ]  # fmt: skip
        used = h2load.process_seconds(pid)
        for worker in workers:
            await stack.enter_async_context(worker)
        begun = await asyncio.gather(*(worker.wait_for("begin", 60) for worker in workers))
        ended = await asyncio.gather(*(worker.wait_for("attached", 600) for worker in workers))
        took = max(line["ts"] for line in ended) - min(line["ts"] for line in begun)
        return each * WORKERS / took, (h2load.process_seconds(pid) - used) / (each * WORKERS)


async def _listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def _handshakes(port: int, files: HubFiles, count: int, pid: int) -> dict[str, Figure]:
    """Whole handshakes and, where the hub agrees, resumed ones, by Python's own TLS."""
    context = ssl.create_default_context(cafile=files.credentials.authority)
    context.load_cert_chain(files.credentials.certificate, files.credentials.key)
    context.set_alpn_protocols(["h2"])
    whole, _, session = _shake(port, context, count, pid, None)
    resumed, reused, _ = _shake(port, context, count, pid, session)
    shown = {
        "hub's CPU per whole handshake": Figure(whole * 1e3, "ms"),
        "handshakes resumed when a client asks for it": Figure(reused * 100, "%"),
    }
    if reused:
        shown["hub's CPU per resumed handshake"] = Figure(resumed * 1e3, "ms")
    return shown


def _shake(
    port: int, context: ssl.SSLContext, count: int, pid: int, session: ssl.SSLSession | None
) -> tuple[float, float, ssl.SSLSession | None]:
    """(the hub's CPU seconds of each, share that was resumed, the last session)."""
    used, reused, last = h2load.process_seconds(pid), 0, session
    for _ in range(count):
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as wrapped,
        ):
            wrapped.recv(9)
            reused += bool(wrapped.session_reused)
            last = wrapped.session
    return (h2load.process_seconds(pid) - used) / count, reused / count, last


def main() -> None:
    if LOAD in sys.argv:
        address, name, count, authority, certificate, key = sys.argv[2:]
        shown = Credentials(authority=authority, certificate=certificate, key=key)
        asyncio.run(attach_all(address, name, int(count), shown))
        return
    parser = arguments(__doc__)
    parser.add_argument("--agents", type=int, default=1000, help="agents that attach (1000)")
    chosen = parser.parse_args()
    agents, handshakes = (100, 50) if chosen.quick else (chosen.agents, 500)
    figures = run(measure(agents, handshakes))
    show("handshakes", figures, chosen.as_json)


if __name__ == "__main__":
    main()
