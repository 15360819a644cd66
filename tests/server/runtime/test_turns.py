"""Long work has one slice per pass of the event loop, and whoever is overdrawn waits for all others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from gossipcontrol.server.runtime.turns import (
    BURST,
    PASS_TIME,
    SHARE,
    Account,
    Turns,
    metered,
    wait_for_room,
    wait_turn,
)


class Lab:
    """A clock that only work moves, and a record of whose slices ran in which pass of the event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = Turns(lambda: self.now)
        self.ran: list[tuple[int, str]] = []
        self.pass_number = 0

    def count_passes(self) -> asyncio.Task[None]:
        async def count() -> None:
            while True:
                self.pass_number += 1
                await asyncio.sleep(0)

        return asyncio.create_task(count())

    def work(self, name: str, slices: int, seconds: float = 0.005) -> Callable[[], Awaitable[str]]:
        async def work() -> str:
            for number in range(slices):
                if number:
                    await wait_turn()
                self.now += seconds
                self.ran.append((self.pass_number, name))
            return name

        return work

    def call(self, peer: str, name: str, slices: int, seconds: float = 0.005) -> asyncio.Task[str]:
        async def call() -> str:
            with self.turns.call(peer) as own:
                return await own.run(self.work(name, slices, seconds))

        return asyncio.create_task(call())


async def test_one_slice_of_all_long_calls_runs_in_a_pass() -> None:
    """Five calls that take turns of 5 ms each would make every pass of the loop 25 ms long."""
    lab = Lab()
    counting = lab.count_passes()
    calls = [lab.call("unix:", f"c{number}", 20) for number in range(5)]
    assert await asyncio.gather(*calls) == [f"c{number}" for number in range(5)]
    counting.cancel()
    passes = [number for number, _ in lab.ran]
    assert len(passes) == 100
    assert max(map(passes.count, passes)) == 1
    # In turn: once all have begun, none of them is a round ahead of another.
    assert all(len({name for _, name in lab.ran[at : at + 5]}) == 5 for at in range(10, 90))


@pytest.mark.parametrize("peer", ["ipv4:10.0.0.1:1", "unix:"])
async def test_a_small_call_waits_for_few_slices_beside_five_large_ones(peer: str) -> None:
    lab = Lab()
    counting = lab.count_passes()
    large = [lab.call(peer, "large", 200) for _ in range(5)]
    for _ in range(50):
        await asyncio.sleep(0)
        began_at = lab.now
        small = lab.call("ipv4:10.0.0.2:2" if peer != "unix:" else peer, "small", 1, 0.0002)
        await small
        assert lab.now - began_at <= 0.02
    await asyncio.gather(*large)
    counting.cancel()


async def test_connections_take_turns_however_many_calls_one_has() -> None:
    lab = Lab()
    many = [lab.call("ipv4:10.0.0.1:1", "many", 1) for _ in range(8)]
    few = [lab.call("ipv4:10.0.0.2:1", "few", 1) for _ in range(3)]
    await asyncio.gather(*many, *few)
    ran = [name for _, name in lab.ran]
    assert (ran.count("few"), ran.count("many")) == (3, 8)
    assert "few" not in ran[1 + 2 * len(few) :], "each waited for one of the other's, beside the first of all"


async def test_the_frames_of_many_streams_share_the_passes_with_new_calls() -> None:
    """A frame of each of 200 streams in one pass made it 60 ms long, and a new call needs several passes."""
    lab, frames, left = Lab(), 20, 200
    counting = lab.count_passes()

    async def read() -> None:
        nonlocal left
        for _ in range(frames):
            await asyncio.sleep(0)  # the next frame is there in every pass
            await wait_for_room()
            lab.now += 0.0003
            lab.ran.append((lab.pass_number, "frame"))
        left -= 1

    async def stream() -> None:
        with lab.turns.call("unix:") as own:
            await own.run(read)

    streams = [asyncio.create_task(stream()) for _ in range(left)]
    while left > 20:  # there are enough of them to fill every pass
        began_at, began_in = lab.now, lab.pass_number
        await lab.call("unix:", "call", 1, 0.0002)
        assert lab.now - began_at <= 4 * PASS_TIME
        assert lab.pass_number - began_in <= 4
    await asyncio.gather(*streams)
    counting.cancel()
    busy = [number for number, name in lab.ran if name == "frame"]
    assert len(busy) == 200 * frames
    # Several small bits have room in a pass: if each had one of its own, most of the time would go to passes.
    assert len(busy) / len(set(busy)) > 5
    assert max(map(busy.count, set(busy))) * 0.0003 <= 2 * PASS_TIME


class Counted(OrderedDict[Account, deque["asyncio.Future[None]"]]):
    """Counts the accounts that are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[Account]:
        for account in super().__iter__():
            self.looked += 1
            yield account

    def items(self) -> Any:
        for account in self:
            yield account, self[account]


async def test_to_find_whose_turn_it_is_takes_no_longer_when_many_wait() -> None:
    """Ten thousand streams that came back at once were all listed for each one: half of the CPU of some minutes."""
    lab = Lab()
    frames = lab.turns._frames  # pyright: ignore[reportPrivateUsage]
    frames.waiting = waiting = Counted()
    streams = 1000

    async def registered(number: int) -> None:
        with lab.turns.call(f"unix:{number}") as own:
            lab.turns.count(PASS_TIME)
            await own.wait_for_room()

    await asyncio.gather(*(registered(number) for number in range(streams)))
    assert waiting.looked == streams


async def test_calls_begin_beside_streams_that_make_every_pass_long() -> None:
    """Agents that report need no turn: 250 of them made passes of 0.1 s, in each of which one call began."""
    lab = Lab()
    counting = lab.count_passes()

    async def report() -> None:
        while True:
            lab.now += 0.1
            lab.turns.count(0.1)
            await asyncio.sleep(0)

    reporting = asyncio.create_task(report())
    await asyncio.sleep(0)
    began_at = lab.pass_number
    calls = [lab.call(f"ipv4:10.0.0.{number}:1", "call", 1, 0.0005) for number in range(100)]
    await asyncio.gather(*calls)
    assert lab.pass_number - began_at <= 20
    reporting.cancel()
    # Calls that are themselves what makes passes long begin one by one again.
    lab.ran.clear()
    await asyncio.gather(*(lab.call("unix:", "long", 1) for _ in range(50)))
    counting.cancel()
    passes = [number for number, _ in lab.ran]
    assert max(map(passes.count, passes[-10:])) == 1


async def test_an_overdrawn_connection_waits_for_others_and_only_it() -> None:
    lab = Lab()
    greedy = lab.call("ipv4:10.0.0.1:1", "greedy", 1, BURST + 0.1)
    await greedy
    later = lab.call("ipv4:10.0.0.1:1", "later", 1)
    others = [lab.call(f"ipv4:10.0.0.{number}:1", "other", 4) for number in range(2, 5)]
    await asyncio.gather(later, *others)
    assert [name for _, name in lab.ran] == ["greedy", *["other"] * 12, "later"]


async def test_an_overdrawn_connection_has_all_that_others_leave() -> None:
    lab = Lab()
    assert await lab.call("ipv4:10.0.0.1:1", "alone", 1000) == "alone"


async def test_an_overdrawn_connection_is_not_locked_out_by_steady_work() -> None:
    lab = Lab()
    await lab.call("ipv4:10.0.0.1:1", "greedy", 1, BURST + 0.1)

    async def steady() -> None:
        number = 0
        while True:
            number += 1
            await lab.call(f"ipv4:10.1.{number // 250}.{number % 250}:1", "other", 1, 0.01)

    busy = asyncio.create_task(steady())
    await lab.call("ipv4:10.0.0.1:1", "later", 1)
    busy.cancel()


async def test_an_account_gains_its_share_and_is_forgotten_when_full() -> None:
    lab = Lab()
    await lab.call("ipv4:10.0.0.1:1", "greedy", 1, 10.0)
    assert lab.turns.balance("ipv4:10.0.0.1:1") == -BURST
    lab.now += BURST / SHARE
    assert lab.turns.balance("ipv4:10.0.0.1:1") == pytest.approx(0.0)
    for number in range(100):
        lab.now += BURST / SHARE
        await lab.call(f"ipv4:10.0.1.{number}:1", "once", 1, 0.0)
    assert lab.turns.accounts <= 2


async def test_a_cancelled_call_leaves_no_place_behind() -> None:
    lab = Lab()
    calls = [lab.call("unix:", "c", 3) for _ in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [False, True, False]
    assert not lab.turns._are_waiting(), "each pass would look for it"  # pyright: ignore[reportPrivateUsage]


async def test_what_is_thrown_into_a_call_reaches_its_work() -> None:
    lab, seen = Lab(), list[str]()

    async def work() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return ""

    async def call() -> str:
        with lab.turns.call("unix:") as own:
            return await own.run(work)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_a_task_of_a_call_is_charged_to_it() -> None:
    lab = Lab()

    async def call() -> None:
        with lab.turns.call("ipv4:10.0.0.1:1") as own:
            await own.run(lambda: asyncio.create_task(metered(_spend())))

    async def _spend() -> None:
        lab.now += 0.3

    await asyncio.create_task(call())
    assert lab.turns.balance("ipv4:10.0.0.1:1") == pytest.approx(BURST - 0.3)


def test_turns_without_accounts_are_not_taken_for_none() -> None:
    """Calls, ticks and snapshots each had their own, so each took all the time of one pass."""
    assert Turns()
