"""A report made while the service is down for ten minutes: through the source of every system, and its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from gossipcontrol.client import Client
from gossipcontrol.client.decision import NetworkChange, TriggerResult
from gossipcontrol.watch import polling
from gossipcontrol.watch.change import ChangeKind, Snapshot
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.polling import PollingSource
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.source import PROBE_V4, NetworkSource
from gossipcontrol.watch.watcher import Watcher
from gossipcontrol.watch.windows import IpHelper, IpHelperSource
from gossipcontrol.watch.windows_layout import ADD, ADDRESS

from tests.kit.network import Host, Network, needs_namespaces
from tests.watch.desk import LIMIT, Desk, changes_counted, desk_for, serving
from tests.watch.windows_lab import FakeIpHelper
from tests.watch.windows_rows import address, link, route, tables

DOWN = 600.0
FIRST, SECOND = 77, 78
"""Last number of the host's address after each change."""


@dataclass
class Seen:
    """A host as its system's source sees it, and what gives it another address."""

    source: NetworkSource
    move: Callable[[int], object]


Open: TypeAlias = Callable[[pytest.MonkeyPatch], AbstractAsyncContextManager[Seen]]


class InNamespace:
    """A source of Linux that sees a host's namespace."""

    name = "rtnetlink"

    def __init__(self, host: Host, source: NetworkSource) -> None:
        self._host = host
        self._source = source

    def wake(self) -> None:
        self._source.wake()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        from tests.watch.lab import inside

        async with aclosing(self._source.watch()) as states:
            with inside(self._host):
                first = await anext(states)
            yield first
            async for state in states:
                yield state


@asynccontextmanager
async def linux(patched: pytest.MonkeyPatch) -> AsyncGenerator[Seen]:
    from gossipcontrol.watch.linux import RtnetlinkSource

    del patched
    async with Network(hosts=1) as network:
        [host] = network.hosts
        yield Seen(InNamespace(host, RtnetlinkSource()), lambda last: host.move(f"10.77.0.{last}"))


def route_socket(system: str) -> Open:
    @asynccontextmanager
    async def opened(patched: pytest.MonkeyPatch) -> AsyncGenerator[Seen]:
        from gossipcontrol.watch.route_layout import LAYOUTS

        from tests.watch import route_lab

        del patched
        [layout] = [one for one in LAYOUTS if one.system == system]
        with closing(route_lab.Host(layout)) as host:
            yield Seen(host.source(), lambda last: host.move(f"192.168.1.{last}"))

    return opened


@asynccontextmanager
async def windows(patched: pytest.MonkeyPatch) -> AsyncGenerator[Seen]:
    del patched

    def having(last: int) -> bytes:
        return address(7, f"10.0.0.{last}")

    def move(last: int) -> None:
        library.now = tables(links, [having(last)], routes)
        library.notify(ADDRESS, having(last), ADD)

    links, routes = [link(7, "Ethernet")], [route(7, "0.0.0.0/0", "10.0.0.1")]
    library = FakeIpHelper(tables(links, [having(2)], routes))
    yield Seen(IpHelperSource(helper=IpHelper(library)), move)


@asynccontextmanager
async def polled(patched: pytest.MonkeyPatch) -> AsyncGenerator[Seen]:
    own = {PROBE_V4: "10.0.0.2"}
    patched.setattr(polling, "_source_address", own.get)
    yield Seen(PollingSource(0.01), lambda last: own.update({PROBE_V4: f"10.0.0.{last}"}))


not_on_windows = pytest.mark.not_on_windows("the sources of other systems need what only those have")
SYSTEMS = [
    pytest.param(linux, id="Linux", marks=(needs_namespaces, not_on_windows)),
    *(
        pytest.param(route_socket(name), id=name, marks=not_on_windows)
        for name in ("darwin", "freebsd", "openbsd", "netbsd")
    ),
    pytest.param(windows, id="Windows"),
    pytest.param(polled, id="polling"),
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[NetworkChange]:
    """Each report that the service answered."""
    answered: list[NetworkChange] = []
    send = Client.report_network_change

    async def listen(client: Client, report: NetworkChange) -> TriggerResult:
        result = await send(client, report)
        answered.append(report)
        return result

    monkeypatch.setattr(Client, "report_network_change", listen)
    return answered


@asynccontextmanager
async def followed(seen: Seen, desk: Desk, directory: Path) -> AsyncGenerator[None]:
    """Report what is seen; once it is watched."""
    counter, started = GenerationCounter(directory / "generation.json", "boot"), asyncio.Event()
    watcher = Watcher(seen.source, (), counter, Filter.default(), quiet=0.0)

    async def follow() -> None:
        async for change in watcher.changes(on_start=lambda source, first: started.set()):
            desk.reporter.report(change)

    following = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(LIMIT):
            await started.wait()
        yield
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def move(seen: Seen, last: int) -> None:
    if asyncio.iscoroutine(moving := seen.move(last)):
        await moving


@pytest.mark.parametrize("opened", SYSTEMS)
async def test_a_report_from_the_start_of_an_outage_arrives_once_with_its_age(
    opened: Open,
    tmp_path: Path,
    host_sleeps: Callable[[float], None],
    sent: list[NetworkChange],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "s.sock"
    async with opened(monkeypatch) as seen, desk_for(path) as desk, followed(seen, desk, tmp_path):
        await move(seen, FIRST)
        await desk.until(lambda: bool(desk.failed))
        host_sleeps(DOWN)
        async with serving(path) as app:
            await desk.until(lambda: bool(desk.delivered))
            await move(seen, SECOND)
            await desk.until(lambda: len(desk.delivered) == 2)
            assert changes_counted(app) == {"changed": 2}
    assert [one.kind for one in sent] == [ChangeKind.CHANGED] * 2
    assert [f".{last}" in one.detail for one, last in zip(sent, (FIRST, SECOND), strict=True)] == [True, True]
    assert [DOWN <= one.age < DOWN + LIMIT for one in sent] == [True, False]
    assert sent[1].age < LIMIT
    assert len({one.request_id for one in sent}) == 2
