"""The sources of Windows, over libraries that a test plays: threads, losses, storms and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest
from gossipcontrol.watch import windows
from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.change import ChangeKind, Snapshot
from gossipcontrol.watch.fingerprint import take_fingerprint
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.windows import IpHelper, IpHelperSource
from gossipcontrol.watch.windows_power import SuspendSource

from tests.kit.until import DEADLINE, until
from tests.watch.windows_lab import ACCESS_DENIED, FakeIpHelper, FakePower, in_a_thread
from tests.watch.windows_rows import address, interface, link, route, tables

LINKS, DEFAULT = [link(7, "Ethernet")], [route(7, "0.0.0.0/0", "10.0.0.1")]
HOME = tables(LINKS, [address(7, "10.0.0.2")], DEFAULT)
AWAY = tables(LINKS, [address(7, "10.0.0.9")], DEFAULT)


@asynccontextmanager
async def watching(library: FakeIpHelper) -> AsyncGenerator[AsyncGenerator[Snapshot]]:
    """The states that the source yields, for as long as a test may take."""
    async with asyncio.timeout(DEADLINE), aclosing(IpHelperSource(helper=IpHelper(library)).watch()) as states:
        yield states


def text(snapshot: Snapshot) -> str:
    return take_fingerprint(snapshot, Filter.default()).describe()


async def test_a_notification_from_another_thread_brings_a_new_state() -> None:
    library = FakeIpHelper(HOME)
    async with watching(library) as states:
        assert text(await anext(states)) == "Ethernet via 10.0.0.1; 10.0.0.2"
        library.now = AWAY
        library.notify(layout.ADDRESS, address(7, "10.0.0.9"), layout.ADD)
        while text(state := await anext(states)) != "Ethernet via 10.0.0.1; 10.0.0.9":
            pass
        assert [one.losses for one in state.links] == [0]
    assert library.callbacks == {}, "nothing is called any more"
    assert library.kept == [], "every table was freed"


async def test_a_flap_between_two_states_is_a_loss() -> None:
    library = FakeIpHelper(HOME)
    async with watching(library) as states:
        first = await anext(states)
        library.notify(layout.ADDRESS, address(7, "10.0.0.2"), layout.DELETE)
        library.notify(layout.ROUTE, DEFAULT[0], layout.DELETE)
        library.notify(layout.ADDRESS, address(8, "10.0.0.2"), layout.DELETE)
        while (state := await anext(states)).links == first.links:
            pass
        assert [one.losses for one in state.links] == [2]
        before, now = (take_fingerprint(one, Filter.default()) for one in (first, state))
        assert now.flapped_since(before)


async def test_a_storm_of_notifications_costs_one_wake_up_per_state(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeIpHelper(HOME)
    loop, calls = asyncio.get_running_loop(), 0
    original = loop.call_soon_threadsafe

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return original(*arguments)  # type: ignore[arg-type]

    async with watching(library) as states:
        await anext(states)
        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        for _ in range(500):
            library.notify(layout.INTERFACE, interface(7, 5), 0)
        assert calls <= 1


async def test_without_a_sign_that_notifications_come_the_tables_are_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windows, "UNCONFIRMED_INTERVAL", 0.01)
    library = FakeIpHelper(HOME, confirms=False)
    async with watching(library) as states:
        assert text(await anext(states)) == "Ethernet via 10.0.0.1; 10.0.0.2"
        library.now = AWAY
        while text(await anext(states)) != "Ethernet via 10.0.0.1; 10.0.0.9":
            pass


async def test_a_watcher_that_is_woken_looks_at_once() -> None:
    library = FakeIpHelper(HOME)
    source = IpHelperSource(helper=IpHelper(library))
    async with asyncio.timeout(DEADLINE), aclosing(source.watch()) as states:
        await anext(states)
        await anext(states)  # for the notifications that confirmed themselves
        library.now = AWAY
        source.wake()
        while text(await anext(states)) != "Ethernet via 10.0.0.1; 10.0.0.9":
            pass


@pytest.mark.parametrize(
    "name",
    ["GetIfTable2", "GetUnicastIpAddressTable", "GetIpForwardTable2", "NotifyIpInterfaceChange", "NotifyRouteChange2"],
)
async def test_what_does_not_work_is_an_error_and_leaves_nothing_registered(name: str) -> None:
    library = FakeIpHelper(HOME, errors={name: ACCESS_DENIED})
    async with watching(library) as states:
        with pytest.raises(OSError, match=f"{name}: error 5"):
            await anext(states)
    assert library.callbacks == {}


async def test_a_system_without_metrics_neighbours_or_a_single_route_is_read_all_the_same() -> None:
    errors = {"GetIpInterfaceTable": layout.NOT_SUPPORTED, "GetIpForwardTable2": layout.NOT_FOUND, "GetIpNetTable2": 1}
    async with watching(FakeIpHelper(HOME, errors=errors)) as states:
        assert text(await anext(states)) == "no default route; 10.0.0.2"


async def test_a_notification_after_the_end_of_the_loop_does_nothing() -> None:
    library = FakeIpHelper(HOME)
    late: list[object] = []

    async def short() -> None:
        async with aclosing(IpHelperSource(helper=IpHelper(library)).watch()) as states:
            await anext(states)
            late.append(library.callbacks["NotifyRouteChange2"])

    await asyncio.to_thread(asyncio.run, short())
    in_a_thread(late[0], None, None, layout.INITIAL)


async def test_sleep_waits_until_it_is_announced_and_a_wake_up_is_told_once() -> None:
    library = FakePower()
    returned = threading.Event()

    def suspend() -> None:
        assert library.registered(None, layout.PBT_APMSUSPEND, None) == 0
        returned.set()

    async with asyncio.timeout(DEADLINE), aclosing(SuspendSource(library, announce_time=DEADLINE).watch()) as changes:
        first = asyncio.ensure_future(anext(changes))
        await until(lambda: library.registered is not None, "registered")
        sleeping = asyncio.create_task(asyncio.to_thread(suspend))
        assert await first is ChangeKind.SLEEPING
        assert not returned.is_set(), "the machine must not sleep before it is announced"
        for kind in (layout.PBT_APMRESUMEAUTOMATIC, layout.PBT_APMRESUMESUSPEND, layout.PBT_APMRESUMEAUTOMATIC):
            await asyncio.to_thread(library.registered, None, kind, None)
        assert await anext(changes) is ChangeKind.RESUMED
        assert await anext(changes) is ChangeKind.RESUMED, "a second wake-up; that a user came was none"
        assert library.registered is not None
    await sleeping
    assert returned.is_set()
    assert library.registered is None


async def test_sleep_is_not_held_back_for_longer_than_windows_waits() -> None:
    library = FakePower()
    async with asyncio.timeout(DEADLINE), aclosing(SuspendSource(library, announce_time=0.01).watch()) as changes:
        first = asyncio.ensure_future(anext(changes))
        await until(lambda: library.registered is not None, "registered")
        await asyncio.to_thread(library.registered, None, layout.PBT_APMSUSPEND, None)
        await asyncio.to_thread(library.registered, None, layout.PBT_APMRESUMESUSPEND, None)
        assert await first is ChangeKind.SLEEPING
        assert await anext(changes) is ChangeKind.RESUMED, "a user's wake-up alone is told as well"


async def test_other_events_of_power_are_no_change() -> None:
    library = FakePower()
    async with asyncio.timeout(DEADLINE), aclosing(SuspendSource(library).watch()) as changes:
        first = asyncio.ensure_future(anext(changes))
        await until(lambda: library.registered is not None, "registered")
        for kind in (0xA, layout.PBT_APMRESUMESUSPEND, 0x8013, layout.PBT_APMRESUMEAUTOMATIC):
            await asyncio.to_thread(library.registered, None, kind, None)
        assert await first is ChangeKind.RESUMED
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_system_without_such_notifications_is_an_error() -> None:
    with pytest.raises(OSError, match="error 87"):
        await anext(SuspendSource(FakePower(error=87)).watch())
