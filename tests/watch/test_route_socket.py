"""The source for macOS and the BSDs: a pair of datagram sockets in place of the routing socket."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest
from gossipcontrol.watch import route_socket
from gossipcontrol.watch.change import Change, Snapshot
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.route_layout import IFF_UP, LAYOUTS, MACOS, OPENBSD, RTM_ADD, RTM_DELETE, Layout
from gossipcontrol.watch.route_socket import RouteSocketSource
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.sysctl import Sysctl
from gossipcontrol.watch.watcher import Watcher, make_watcher

from tests.kit.compiler import MISSING, compiled
from tests.kit.until import DEADLINE, until
from tests.watch.route_builder import RUNNING, address_message, laptop, link_message, route_message
from tests.watch.route_lab import Host

needs_compiler = pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=[one.system for one in LAYOUTS])


@pytest.fixture(params=LAYOUTS, ids=[one.system for one in LAYOUTS])
def host(request: pytest.FixtureRequest) -> Generator[Host]:
    with closing(Host(request.param)) as made:
        yield made


async def next_of(states: AsyncGenerator[Snapshot, None]) -> Snapshot:
    async with asyncio.timeout(DEADLINE):
        return await anext(states)


async def test_a_message_makes_one_snapshot_and_a_storm_makes_few(host: Host) -> None:
    time = asyncio.get_running_loop().time
    async with aclosing(host.source().watch()) as states:
        await next_of(states)
        host.move("192.168.1.21")
        assert (await next_of(states)).addresses[1].address == "192.168.1.21"
        following = asyncio.ensure_future(anext(states))
        reads, began_at = host.kernel.reads, time()
        for number in range(100):
            host.move(f"192.168.1.{number + 30}")
            await asyncio.sleep(0)
        latest = await following
        while latest.addresses[1].address != "192.168.1.129":
            latest = await next_of(states)
        assert host.kernel.reads - reads <= 2 + (time() - began_at) / route_socket.PAUSE


async def test_what_does_not_matter_wakes_nobody(host: Host) -> None:
    async with aclosing(host.source().watch()) as states:
        await next_of(states)
        following = asyncio.ensure_future(anext(states))
        for number in range(50):
            host.tell(route_message(host.layout, 7, 4, f"198.51.100.{number}"), link_message(host.layout, 9))
            await asyncio.sleep(0)
        host.move("192.168.1.21")
        await following
        assert host.kernel.reads == 2
        assert following.result().addresses[1].address == "192.168.1.21"


@pytest.mark.parametrize("what", ["carrier", "address", "route"])
async def test_a_flap_between_two_snapshots_is_latched(host: Host, what: str) -> None:
    flaps = {
        "carrier": [link_message(host.layout, 4, flags=IFF_UP), link_message(host.layout, 4)],
        "address": [
            address_message(host.layout, 4, "192.168.1.20", 24, lost=True),
            address_message(host.layout, 4, "192.168.1.20", 24),
        ],
        "route": [
            route_message(host.layout, RTM_DELETE, 4, "0.0.0.0/0", "192.168.1.1"),
            route_message(host.layout, RTM_ADD, 4, "0.0.0.0/0", "192.168.1.1"),
        ],
    }
    async with aclosing(host.source().watch()) as states:
        before = await next_of(states)
        host.tell(*flaps[what])
        after = await next_of(states)
    assert [one.losses for one in before.links] == [0, 0, 0]
    assert [one.losses for one in after.links] == [0, 1, 0]


class _Broken(socket.socket):
    """A socket whose next reads fail."""

    failures: list[OSError]

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return super().recv(size, flags)


def broken(host: Host, *failures: OSError) -> Callable[[], socket.socket]:
    listener = host.open()
    made = _Broken(listener.family, listener.type, fileno=listener.detach())
    made.failures = list(failures)
    return lambda: made if host.opened == 1 else host.open()


async def test_a_buffer_that_ran_over_is_a_fresh_snapshot_on_the_same_socket(host: Host) -> None:
    opened = broken(host)
    source = RouteSocketSource(layout=host.layout, lists=host.kernel, opened=opened)
    async with aclosing(source.watch()) as states:
        await next_of(states)
        listener = opened()
        assert isinstance(listener, _Broken)
        listener.failures.append(OSError(errno.ENOBUFS, "No buffer space available"))
        host.kernel.addresses[1] = (4, "192.168.1.99", 24)
        host.tell(link_message(host.layout, 9))
        assert (await next_of(states)).addresses[1].address == "192.168.1.99"
    assert host.opened == 1


async def test_openbsd_says_that_messages_were_lost() -> None:
    with closing(Host(OPENBSD)) as host:
        async with aclosing(host.source().watch()) as states:
            await next_of(states)
            host.tell(bytes([8, 0, 5, 0x10, 8, 0, 0, 0]))
            await next_of(states)


async def test_a_message_that_cannot_be_read_is_a_fresh_snapshot(host: Host) -> None:
    async with aclosing(host.source().watch()) as states:
        await next_of(states)
        host.tell(b"\xff\xff\x05\x0e")
        await next_of(states)
        host.move("192.168.1.21")
        await next_of(states)


async def test_a_broken_socket_is_opened_again_with_backoff(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_socket, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(route_socket, "LONGEST_RETRY", 0.02)
    made = broken(host)()
    assert isinstance(made, _Broken)
    openings = iter([made])
    source = RouteSocketSource(
        layout=host.layout, lists=host.kernel, opened=lambda: next(openings, None) or host.open()
    )
    async with aclosing(source.watch()) as states:
        await next_of(states)
        made.failures.append(OSError(errno.EBADF, "gone"))
        host.refuses = True
        host.tell(link_message(host.layout, 9))
        for _ in range(4):  # a snapshot when it broke, and one with each try
            await next_of(states)
        assert made.fileno() == -1
        assert host.opened == 4
        host.refuses = False
        await next_of(states)
        host.move("192.168.1.21")
        assert (await next_of(states)).addresses[1].address == "192.168.1.21"


@pytest.mark.parametrize("failure", [OSError(errno.EPERM, "refused")])
async def test_lists_that_cannot_be_read_end_it(host: Host, failure: OSError) -> None:
    host.kernel.failure = failure
    async with aclosing(host.source().watch()) as states:
        with pytest.raises(OSError, match="refused"):
            await next_of(states)


async def test_lists_of_another_layout_end_it() -> None:
    with closing(Host(MACOS)) as host:
        host.kernel.table = [b"\x00"]
        async with aclosing(host.source().watch()) as states:
            with pytest.raises(OSError, match="not as expected"):
                await next_of(states)


async def test_there_is_none_on_linux() -> None:
    async with aclosing(RouteSocketSource().watch()) as states:
        with pytest.raises(OSError, match="no layout"):
            await next_of(states)


@asynccontextmanager
async def watching(host: Host, tmp_path: Path) -> AsyncGenerator[list[Change]]:
    """A whole watcher, and all that it reports."""
    counter = GenerationCounter(tmp_path / "generation.json", "boot")
    watcher = Watcher(host.source(), (), counter, Filter.default(), quiet=0.05)
    changes: list[Change] = []
    started = asyncio.Event()

    async def collect() -> None:
        stream = watcher.changes(on_start=lambda source, first: started.set())
        async for change in stream:
            changes.append(change)  # noqa: PERF401 - each is looked at as it comes

    task = asyncio.create_task(collect())
    try:
        async with asyncio.timeout(DEADLINE):
            await started.wait()
        yield changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_twenty_changes_are_twenty_reports(host: Host, tmp_path: Path) -> None:
    async with watching(host, tmp_path) as changes:
        for number in range(20):
            noise = [
                link_message(host.layout, 9),
                address_message(host.layout, 9, "10.8.0.2", 32),
                address_message(host.layout, 4, f"2001:db8:1::{number + 100:x}", 64, lost=True),
                route_message(host.layout, 7, 4, "198.51.100.7"),
            ]
            host.tell(*noise)
            match number % 4:
                case 0:
                    host.move(f"192.168.1.{number + 30}")
                case 1:
                    host.tell(link_message(host.layout, 4, flags=IFF_UP), link_message(host.layout, 4, flags=RUNNING))
                case 2:
                    host.delete_default()
                    host.delete_default()
                    host.add_default()
                case _:
                    host.kernel.addresses.append((4, f"10.1.{number}.2", 24))
                    host.tell(address_message(host.layout, 4, f"10.1.{number}.2", 24))
            await until(lambda number=number: len(changes) > number, f"change {number} is reported")
            assert len(changes) == number + 1
    assert len({one.generation for one in changes}) == 20


SYSCTL = r"""
#include <stddef.h>
#include <string.h>
#include <errno.h>
static char list[200000];
static size_t length;
static int grows, calls, last[6];
void set_list(const char *bytes, size_t size, int growing) {
    memcpy(list, bytes, size);
    length = size;
    grows = growing;
}
int last_mib(int at) { return last[at]; }
int sysctl(int *mib, unsigned count, void *old, size_t *size, void *new, size_t new_size) {
    if (count != 6 || new || new_size) { errno = EINVAL; return -1; }
    memcpy(last, mib, sizeof last);
    calls++;
    if (!old) { *size = length; if (grows) { grows--; length += 100000; } return 0; }
    if (*size < length) { errno = ENOMEM; return -1; }
    memcpy(old, list, length);
    *size = length;
    return 0;
}
"""


@pytest.fixture
def library(tmp_path: Path) -> str:
    return str(compiled(SYSCTL, tmp_path))


@needs_compiler
@every_layout
def test_lists_are_read_through_sysctl(layout: Layout, library: str) -> None:
    kernel = laptop(layout)
    fake = ctypes.CDLL(library)
    wanted = kernel.links()
    fake.set_list(wanted, ctypes.c_size_t(len(wanted)), 0)
    asked = Sysctl(layout, library)
    assert asked.links() == wanted
    assert [fake.last_mib(at) for at in range(6)] == [4, layout.protocol, 0, 0, layout.list_links, 0]
    assert asked.routes() == wanted
    assert asked.neighbors() == wanted * 2
    assert [fake.last_mib(at) for at in range(6)] == [4, layout.protocol, 0, layout.inet6, 2, 0x400]
    fake.set_list(wanted, ctypes.c_size_t(len(wanted)), 1)
    assert len(asked.routes()) == len(wanted) + 100000  # grew between the two calls: once more


@needs_compiler
def test_a_table_that_is_too_long_is_refused(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ctypes.CDLL(library)
    fake.set_list(b"", ctypes.c_size_t(0), 20)
    monkeypatch.setattr("gossipcontrol.watch.sysctl.MOST_BYTES", 150000)
    asked = Sysctl(MACOS, library)
    with pytest.raises(OSError, match="too long"):
        asked.routes()


@pytest.mark.parametrize("platform", ["darwin", "freebsd14", "openbsd7", "netbsd10"])
def test_the_watcher_of_these_systems_uses_it(platform: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", platform)
        watcher = make_watcher(state=tmp_path / "generation.json")
    assert isinstance(watcher._network, RouteSocketSource)  # pyright: ignore[reportPrivateUsage]
