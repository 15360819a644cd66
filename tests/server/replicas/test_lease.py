"""When a standby takes over, by what it sees and by nothing else."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from gossipcontrol.server.replicas.lease import (
    OVERDUE_TIME,
    REGISTER,
    START_TIME,
    UNSEEN_TIME,
    Lease,
    Owner,
    Sightings,
    write_owner,
)
from gossipcontrol.server.state.ledger import Fenced, Register
from gossipcontrol.server.state.ledger_entry import write_entries
from gossipcontrol.server.state.ledger_journal import LedgerJournal

from tests.kit.markdown import TOP
from tests.kit.memory_ledger import MemoryLedger
from tests.kit.virtual_loop import VirtualLoop

OWNER = Owner(holder="one", address="one:1", epoch=3)


def register(revision: int, *, released: bool = False) -> Register:
    return Register(write_owner(replace(OWNER, renewal=revision, released=released)), revision)


def look(sightings: Sightings, one: Register, first: float, last: float) -> list[float]:
    """Look every 0.1 s; the instants at which the owner might have been replaced."""
    instants = [number / 10 for number in range(round(first * 10), round(last * 10) + 1)]
    return [now for now in instants if sightings.see(one, now)]


def test_an_owner_that_renews_is_left_alone_and_one_that_does_not_is_replaced_after_its_time() -> None:
    sightings = Sightings()
    for step in range(20):
        assert look(sightings, register(step + 1), step * 1.4, step * 1.4 + 1.3) == []
    assert look(sightings, register(20), 28.0, 31.0)[0] == 28.1


def test_nobody_waits_where_there_is_no_owner_or_where_it_has_let_go() -> None:
    assert Sightings().see(Register(b"", 0), 5.0)
    assert Sightings().see(register(7, released=True), 5.0)


@pytest.mark.parametrize("blind", ["could not read", "stood still"])
def test_a_standby_that_saw_nothing_for_a_while_gives_the_owner_time_to_renew(blind: str) -> None:
    sightings = Sightings()
    look(sightings, register(1), 0.0, 0.4)
    if blind == "could not read":
        sightings.miss()
    assert look(sightings, register(1), 3.0, 3.7) == []
    assert look(sightings, register(1), 3.8, 4.0)


def test_a_standby_says_when_there_may_be_another_owner_once_a_renewal_is_overdue() -> None:
    async def live() -> list[float]:
        shared, loop = MemoryLedger(), asyncio.get_running_loop()
        one, two = (Lease(shared.link(), name, f"{name}:1", now=loop.time) for name in ("one", "two"))
        await one.wait()
        one.start(lambda why: None)
        waiting = asyncio.create_task(two.wait())
        await asyncio.sleep(1.0)
        said = [two.due()]
        await one.close()
        for pause in (0.3, 0.4, 0.4):
            await asyncio.sleep(pause)
            said.append(two.due())
        await waiting
        said.append(two.due())
        await two.release()
        return said

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        renews, early, later, soon, has_it = runner.run(live())
    assert (renews, early) == (0.0, 0.0), "nothing is overdue yet"
    assert 0.6 < later < UNSEEN_TIME + START_TIME - OVERDUE_TIME
    assert later - 0.4 == pytest.approx(soon, abs=1e-3)
    assert 0.0 < has_it <= START_TIME, "it has taken the lease, and is about to serve"


def test_a_standby_takes_over_with_the_next_epoch_and_the_old_owner_learns_of_it() -> None:
    async def live() -> tuple[int, str, bool]:
        shared, loop = MemoryLedger(), asyncio.get_running_loop()
        one, two = (Lease(shared.link(), name, f"{name}:1", now=loop.time) for name in ("one", "two"))
        losses: list[str] = []
        await one.wait()
        one.start(losses.append)
        waiting = asyncio.create_task(two.wait())
        await asyncio.sleep(10)
        assert not waiting.done()
        assert one.is_sure()
        await one.close()  # it renews no more
        await asyncio.wait_for(waiting, 2.0)
        one.start(losses.append)
        with pytest.raises(Fenced, match="two:1 has taken over"):
            await one.sure()
        await two.release()
        return two.epoch, losses[0], one.is_sure()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(live()) == (2, "the replica at two:1 has taken over", False)


def test_the_next_owner_after_a_restore_has_the_epoch_that_an_operator_raised() -> None:
    """Agents that saw a newer owner before the restore ignore an older one."""
    page = (TOP / "docs" / "replicas-operation.md").read_text(encoding="utf-8")
    [value] = re.findall(r"etcdctl put gc/1/default/register/lease '(.*)'", page)
    shared = MemoryLedger()
    shared.swap(REGISTER, value.encode(), 0)

    async def take() -> int:
        lease = Lease(shared.link(), "next", "next:1", now=asyncio.get_running_loop().time)
        await asyncio.wait_for(lease.wait(), 0.1)
        return lease.epoch

    assert asyncio.run(take()) == 1001


class Epoch:
    """A fence that is never asked."""

    epoch = 2

    async def sure(self) -> None:
        """At once."""


async def test_who_was_overtaken_before_the_claim_does_not_claim() -> None:
    shared = MemoryLedger()
    [newer] = write_entries(3, b"")
    shared.append(1, newer)
    with pytest.raises(Fenced):
        await LedgerJournal(shared.link(), Epoch()).claim()
    assert shared.head == 1
