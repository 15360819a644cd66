"""Calls that are decided together: each with its own caller, account and error, and none for longer than a slice."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from gossipcontrol.server.core.core import Core, Journaling
from gossipcontrol.server.core.effect import AnswerTrigger, Effect
from gossipcontrol.server.core.event import Event, NodeAttached, RejoinRequested, TimePassed
from gossipcontrol.server.core.turn import Fact, Turn
from gossipcontrol.server.observe.events import EventLog
from gossipcontrol.server.runtime import dispatcher as dispatcher_module
from gossipcontrol.server.runtime import gathering as gathering_module
from gossipcontrol.server.runtime.collector import EVENTS, Collector
from gossipcontrol.server.runtime.gathering import Gathering
from gossipcontrol.server.runtime.turns import BURST, Turns, current_caller
from gossipcontrol.server.state.entry import KnowledgeEntry

from tests.kit.until import until
from tests.server.runtime.test_outbox import Desk, turn

PEERS = ("ipv4:192.0.2.1:1", "ipv4:192.0.2.2:2", "ipv4:192.0.2.3:3")


async def call(desk: Desk, turns: Turns, peer: str) -> Sequence[Effect]:
    """A trigger of a connection, with its peer's name as the request id."""
    with turns.call(peer) as own:
        return await own.run(lambda: desk.dispatcher.settle(RejoinRequested("n", request_id=peer)))


async def calls(desk: Desk, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Task[Sequence[Effect]]]:
    """One of each peer, that wait for each other, on a slow computer too."""
    monkeypatch.setattr(gathering_module, "RECENT", 60.0)
    monkeypatch.setattr(gathering_module, "STEP", 0.05)
    for _ in range(8):
        desk.dispatcher.submit(RejoinRequested("n"))
    await turn()
    desk.journal.entries.clear()
    tasks = [asyncio.create_task(call(desk, turns, peer)) for peer in PEERS]
    await turn()
    assert desk.journal.entries == []
    return tasks


async def test_each_decision_is_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, turns, noted = Desk(), Turns(), list[tuple[str, str]]()

    def note(_log: EventLog, _answer: AnswerTrigger, request_id: str, caller: str) -> None:
        noted.append((request_id, caller))

    monkeypatch.setattr(EventLog, "note_origin", note)
    tasks = await calls(desk, turns, monkeypatch)
    await until(lambda: len(desk.journal.entries) == 3, "all are decided")
    desk.journal.commit()
    await asyncio.gather(*tasks)
    assert noted[8:] == [(peer, peer) for peer in PEERS]
    await desk.dispatcher.close()


async def test_each_decision_is_charged_to_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, now = Desk(), [1000.0]
    turns, handle = Turns(lambda: now[0]), desk.core.handle
    tasks = await calls(desk, turns, monkeypatch)

    def slow(event: Event, at: float, journaling: Journaling) -> Turn:
        now[0] += 0.01
        return handle(event, at, journaling)

    monkeypatch.setattr(desk.core, "handle", slow)
    await until(lambda: len(desk.journal.entries) == 3, "all are decided")
    assert [turns.balance(peer) < BURST - 0.001 for peer in PEERS] == [True] * 3
    desk.journal.commit()
    await asyncio.gather(*tasks)
    await desk.dispatcher.close()


async def test_decisions_of_a_batch_take_no_longer_than_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "SLICE_TIME", 0.0)
    desk, seen = Desk(), set[int]()
    tasks = await calls(desk, Turns(), monkeypatch)
    while len(desk.journal.entries) < 3:
        seen.add(len(desk.journal.entries))
        await asyncio.sleep(0)
    assert seen == {0, 1, 2}
    desk.journal.commit()
    await asyncio.gather(*tasks)
    await desk.dispatcher.close()


def commits_in_the_loop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each commit keeps, of a journal that commits when the event loop has it do so."""
    commits, append = list[int](), desk.journal.append

    def commit() -> None:
        commits.append(len(desk.journal.entries) - sum(commits))
        desk.journal.commit()

    def appending(entries: Sequence[Fact | KnowledgeEntry], effects: Sequence[Effect] = ()) -> int:
        assert desk.journal.listener is not None
        assert desk.journal.listener.soon is not None
        number = append(entries, effects)
        desk.journal.listener.soon(commit)
        return number

    monkeypatch.setattr(desk.journal, "append", appending)
    return commits


async def test_a_call_that_comes_alone_is_kept_before_it_waits_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    commits = commits_in_the_loop(desk, monkeypatch)
    call = desk.dispatcher.settle(RejoinRequested("n"))
    with pytest.raises(StopIteration):
        call.send(None)
    assert commits == [1]
    await desk.dispatcher.close()


async def test_each_call_counts_once_among_those_who_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted again as it is decided, it would have the next calls wait for others that do not come."""
    desk, came, counted = Desk(), Gathering.came, list[None]()

    def counting(gathering: Gathering) -> None:
        counted.append(None)
        came(gathering)

    tasks = await calls(desk, Turns(), monkeypatch)
    monkeypatch.setattr(Gathering, "came", counting)
    await until(lambda: len(desk.journal.entries) == 3, "all are decided")
    assert counted == []
    desk.journal.commit()
    await asyncio.gather(*tasks)
    await desk.dispatcher.close()


async def test_a_commit_that_the_journal_asks_for_by_itself_runs() -> None:
    desk, commits = Desk(), list[str]()
    assert desk.journal.listener is not None
    assert desk.journal.listener.soon is not None
    desk.journal.listener.soon(lambda: commits.append("snapshot"))
    assert commits == []
    await turn()
    assert commits == ["snapshot"]
    await desk.dispatcher.close()


async def test_the_next_deadline_is_looked_up_once_and_after_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is deferred starts late, by as much as a second, or each call pays for two looks at all deadlines."""
    desk, next_deadline, looks = Desk(), Core.next_deadline, list[int]()
    commits = commits_in_the_loop(desk, monkeypatch)

    def looked_up(core: Core, journaling: Journaling) -> float | None:
        looks.append(len(commits))
        return next_deadline(core, journaling)

    monkeypatch.setattr(Core, "next_deadline", looked_up)
    call = desk.dispatcher.settle(RejoinRequested("n"))
    with pytest.raises(StopIteration):
        call.send(None)
    assert looks == [1]
    await desk.dispatcher.close()


async def test_calls_of_one_pass_are_kept_by_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many nodes as come back at once each register with a call of this kind."""
    micros = itertools.count()
    desk, turns = Desk(), Turns(lambda: next(micros) / 1_000_000)
    desk.outbox.turns = turns
    commits = commits_in_the_loop(desk, monkeypatch)
    await asyncio.gather(*(call(desk, turns, peer) for peer in PEERS))
    assert commits == [1, 2], "nothing was done in this pass before the first"
    await desk.dispatcher.close()


async def test_work_that_nobody_waits_for_takes_no_longer_than_a_slice_of_a_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that breaks ends a thousand streams in one pass."""
    monkeypatch.setattr(dispatcher_module, "SLICE_TIME", 0.0)
    desk, done = Desk(), list[int]()
    for number in range(3):
        desk.dispatcher.soon(partial(done.append, number))
    assert done == [0], "the first at once"
    seen = list[int]()
    while len(done) < 3:
        seen.append(len(done))
        await asyncio.sleep(0)
    assert (done, sorted(set(seen))) == ([0, 1, 2], [1, 2])
    for number in range(3):
        desk.dispatcher.soon(partial(done.append, number))
    await desk.dispatcher.close()
    assert done == [0, 1, 2] * 2, "the rest at the close"


async def test_new_objects_are_looked_at_after_some_events_though_as_many_old_ones_go() -> None:
    """Python counts those that went too: a look after all peers had fallen silent found 91,000 objects."""
    desk, collector, most = Desk(), Collector(), 0
    kept = deque([index] for index in range(300 * EVENTS))
    handle, threshold = desk.core.handle, gc.get_threshold()

    def replacing(event: Event, at: float, journaling: Journaling) -> Turn:
        for _ in range(100):
            kept.popleft()
            kept.append([0])
        return handle(event, at, journaling)

    collector.tune()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(desk.core, "handle", replacing)
            for _ in range(2 * EVENTS):
                desk.dispatcher.submit(TimePassed())
                most = max(most, len(gc.get_objects(0)) + len(gc.get_objects(1)))
    finally:
        collector.close()
        gc.set_threshold(*threshold)
        await desk.dispatcher.close()
    assert most < 130 * EVENTS


async def test_who_waits_for_an_earlier_fact_is_released_before_who_came_first() -> None:
    desk = Desk()
    numbers = [desk.dispatcher.submit(RejoinRequested("n", request_id=one)).number for one in "qr"]
    late, early = (asyncio.create_task(desk.outbox.kept(number)) for number in reversed(numbers))
    await turn()
    assert desk.journal.listener is not None
    desk.journal.listener.committed(numbers[0])
    await turn()
    assert (early.done(), late.done()) == (True, False)
    desk.journal.commit()
    await late
    await desk.dispatcher.close()


async def test_a_registration_is_decided_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream is taken for the node's before it is decided, and is undone if it ends before."""
    desk = Desk()
    tasks = await calls(desk, Turns(), monkeypatch)
    attached = asyncio.create_task(desk.dispatcher.settle(NodeAttached("n", "s", ("notes",))))
    await asyncio.sleep(0)
    assert len(desk.journal.entries) == 1
    await until(lambda: len(desk.journal.entries) == 4, "all are decided")
    desk.journal.commit()
    await asyncio.gather(attached, *tasks)
    await desk.dispatcher.close()


async def reports(desk: Desk, turns: Turns, works: dict[str, Callable[[], str]]) -> list[asyncio.Task[str]]:
    """Work that waits for no commit, of each of these peers."""

    async def report(peer: str, work: Callable[[], str]) -> str:
        with turns.call(peer) as own:
            return await own.run(lambda: desk.dispatcher.together(work))

    return [asyncio.create_task(report(peer, work)) for peer, work in works.items()]


async def test_work_that_comes_alone_is_done_at_once() -> None:
    desk = Desk()
    [done] = await reports(desk, Turns(), {PEERS[0]: lambda: "done"})
    await turn()
    assert await done == "done"
    await desk.dispatcher.close()


async def test_work_that_comes_together_is_done_together_and_each_gets_its_own_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs for its own call, an error is that call's, and nothing of it waits for a commit."""
    desk, turns, ran = Desk(), Turns(), list[tuple[str, str]]()
    waiting = await calls(desk, turns, monkeypatch)

    def work(peer: str) -> Callable[[], str]:
        def run() -> str:
            ran.append((peer, current_caller()))
            if peer == PEERS[1]:
                raise ValueError(peer)
            return peer

        return run

    tasks = await reports(desk, turns, {peer: work(peer) for peer in PEERS})
    await turn()
    assert ran == []
    tasks[2].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert ran == [(peer, peer) for peer in PEERS[:2]]
    assert done[0] == PEERS[0]
    assert (type(done[1]), type(done[2])) == (ValueError, asyncio.CancelledError)
    assert not any(one.done() for one in waiting), "these wait for their commit"
    desk.journal.commit()
    await asyncio.gather(*waiting)
    await desk.dispatcher.close()
