"""An endpoint is stopped to the end, however long that takes."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.iroh import endpoint
from gossipcontrol.iroh.endpoint import stop_endpoint
from gossipcontrol.iroh.host_addresses import bound_ports
from gossipcontrol.iroh.node import IrohNode

from tests.kit.until import until


async def test_a_stop_that_takes_long_goes_on_after_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half stopped, it would never let go of its socket."""
    monkeypatch.setattr(endpoint, "STOP_TIME", 0.01)
    drained, ended = asyncio.Event(), list[str]()

    async def shutdown() -> None:
        try:
            await drained.wait()
            ended.append("stopped")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def node_addr() -> SimpleNamespace:
        return SimpleNamespace(direct_addresses=list[str])

    node: Any = SimpleNamespace(
        node=lambda: SimpleNamespace(shutdown=shutdown), net=lambda: SimpleNamespace(node_addr=node_addr)
    )
    await stop_endpoint(node)
    caller = asyncio.ensure_future(stop_endpoint(node))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert ended == []
    drained.set()
    await until(lambda: ended == ["stopped", "stopped"], "both have stopped")


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are of Linux")
async def test_an_endpoint_that_stops_hears_no_ping_any_more() -> None:
    """Peers would send to it what they have to say to its successor, which has the same key."""
    node = await IrohNode.start(lambda _event: None)
    ports = bound_ports(node.addresses())
    await node.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pinging:
        pinging.sendto(b"ping", ("127.0.0.1", ports[4]))
    sockets = [line.split() for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()]
    queues = [columns[4].partition(":")[2] for columns in sockets if columns[1].endswith(f":{ports[4]:04X}")]
    assert {int(queue, 16) for queue in queues} <= {0}
