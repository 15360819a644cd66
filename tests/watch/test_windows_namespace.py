"""The watcher as it is on Windows, under Wine: real changes of the kernel, seen through IP Helper's tables."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.kit.network import Host, Network
from tests.kit.process import Process
from tests.kit.windows import what_is_missing, windows_watcher

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "nothing is missing")

LIMIT = 60.0
START = "eth0 via 10.77.0.1; 10.77.0.2"
PREFIX = "2001:db8:5::"


async def ip(host: Host, arguments: str) -> None:
    """Run ``ip`` in the host's namespace."""
    await host.run("ip", *arguments.split())


class Reports:
    """What the watcher prints, in order: each step of a test waits for the next line, and for that one alone."""

    def __init__(self, watching: Process) -> None:
        self._watching = watching
        self.expected: list[tuple[str, str]] = []

    async def next(self, event: str, detail: str = "") -> None:
        """Expect this event as the next one; of a change, with this detail."""
        self.expected.append((event, detail))
        count = sum(1 for one, _ in self.expected if one == event)
        await self._watching.wait_for(event, LIMIT, count=count)
        assert self.all() == self.expected

    def all(self) -> list[tuple[str, str]]:
        """Every change and loss so far."""
        lines = [one for one in self._watching.lines if one["event"] in ("change", "lost")]
        return [(one["event"], one.get("detail", "").partition(" (")[0]) for one in lines]


async def quiet_changes(host: Host, reports: Reports) -> None:
    """Nothing of this changes how peers are reached; the report that comes next would be a false one otherwise."""
    del reports
    await ip(host, "link set eth0 mtu 1400")
    await ip(host, "link add veth8 type veth peer name veth9")
    await ip(host, "address add 172.20.0.1/16 dev veth8")
    await ip(host, "link set veth8 up")
    await ip(host, "route add 198.51.100.0/24 via 10.77.0.1 dev eth0")
    await ip(host, "address add 127.0.0.9/8 dev lo")
    await ip(host, "address delete 127.0.0.9/8 dev lo")
    await ip(host, "link delete veth8")
    await ip(host, "route delete 198.51.100.0/24")
    await ip(host, "link set eth0 mtu 1500")


async def another_address(host: Host, reports: Reports) -> None:
    await host.move("10.77.0.30")
    await reports.next("change", "eth0 via 10.77.0.1; 10.77.0.30")
    await host.move("10.77.0.2")
    await reports.next("change", START)


async def a_cable(host: Host, reports: Reports) -> None:
    await host.unplug()
    await reports.next("lost")
    await host.plug()
    await reports.next("change", START)


async def an_interface(host: Host, reports: Reports) -> None:
    await host.link_down()
    await reports.next("lost")
    await host.link_up()
    await reports.next("change", START)


async def another_gateway(host: Host, reports: Reports) -> None:
    await ip(host, "route replace default via 10.77.0.99 dev eth0")
    await reports.next("change", "eth0 via 10.77.0.99; 10.77.0.2")
    await ip(host, "route replace default via 10.77.0.1 dev eth0")
    await reports.next("change", START)


async def no_gateway(host: Host, reports: Reports) -> None:
    await ip(host, "route delete default")
    await reports.next("change", "no default route; 10.77.0.2")
    await ip(host, "route add default via 10.77.0.1 dev eth0")
    await reports.next("change", START)


async def one_more_address(host: Host, reports: Reports) -> None:
    await ip(host, "address add 10.77.9.2/24 dev eth0")
    await reports.next("change", f"{START}, 10.77.9.2")
    await ip(host, "address delete 10.77.9.2/24 dev eth0")
    await reports.next("change", START)


async def ipv6(host: Host, reports: Reports) -> None:
    """A further address of the same network, as those for privacy are, is no change."""
    await ip(host, f"address add {PREFIX}2/64 dev eth0 nodad")
    await reports.next("change", f"{START}, {PREFIX}/64")
    await ip(host, f"address add {PREFIX}abc/64 dev eth0 nodad")
    await ip(host, f"address delete {PREFIX}2/64 dev eth0")
    await ip(host, f"address delete {PREFIX}abc/64 dev eth0")
    await reports.next("change", START)


STEPS: tuple[Callable[[Host, Reports], Awaitable[None]], ...] = (
    quiet_changes, another_address, a_cable, an_interface, quiet_changes, another_gateway, no_gateway, one_more_address,
    quiet_changes, ipv6, a_cable, another_address, quiet_changes, an_interface, one_more_address, another_gateway,
)  # fmt: skip


@pytest.mark.waits(60)
async def test_each_of_many_changes_is_reported_once_and_nothing_else(tmp_path: Path) -> None:
    """Wine makes no notifications of changes, so the tables are read once per second, as the watcher then does."""
    async with Network(hosts=1) as network:
        [host] = network.hosts
        watching = windows_watcher(host, tmp_path)
        await watching.start()
        try:
            first = await watching.wait_for("watching", LIMIT)
            assert (first["source"], first["network"]) == ("iphlpapi", START)
            reports = Reports(watching)
            for step in STEPS:
                await step(host, reports)
            assert len(reports.expected) >= 20
            assert not watching.all("line"), "only JSON, and no traceback"
        finally:
            # Wine's own processes end when the namespace is deleted, which kills all that is in it.
            await watching.stop(signal.SIGKILL)
