"""Whether the host can send to anybody."""

from __future__ import annotations

import sys

import pytest
from gossipcontrol.agent import way_out
from gossipcontrol.agent.dialable import IpAddress
from gossipcontrol.agent.way_out import ANYWHERE, MOST_PEERS, has_way_out

from tests.kit.network import Host, Network, needs_namespaces
from tests.kit.process import Process
from tests.kit.until import DEADLINE


def test_the_internet_is_asked_for_and_the_first_peers_but_no_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[IpAddress] = []

    def record(ip: IpAddress) -> bool:
        asked.append(ip)
        return False

    monkeypatch.setattr(way_out, "_has_route", record)
    peers = ["127.0.0.1:1", "no address", *(f"192.0.2.{number}:1" for number in range(10, 100))]
    assert not has_way_out(peers)
    assert len(asked) == len(ANYWHERE) + MOST_PEERS - 2


@needs_namespaces
async def test_a_link_that_is_down_is_no_way_out_and_a_local_network_is_one_to_its_peers() -> None:
    async with Network(1) as network:
        [host] = network.hosts
        assert await answer(host) == "True"
        await host.run("ip", "route", "delete", "default")
        assert await answer(host) == "False"
        assert await answer(host, f"{host.gateway}:1") == "True"
        await host.link_down()
        assert await answer(host, f"{host.gateway}:1") == "False"


async def answer(host: Host, *peers: str) -> str:
    """What a process on the host finds."""
    code = f"from gossipcontrol.agent.way_out import has_way_out; print(has_way_out({peers!r}))"
    async with Process("asking", sys.executable, "-c", code, host=host) as asking:
        return str((await asking.wait_for("line", DEADLINE))["text"])
