"""Members of a store on a real hub: changed by its admin only, undone, and in no incarnation of a far future."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.client import Client, ClientError, DeniedError, IntentionBatch, Member, RefusedError
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters

from tests.kit.hub import Hub, hub
from tests.kit.service_lab import config, serving
from tests.kit.until import DEADLINE, until
from tests.server.access.test_words import chain


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path) as one:
        yield one


async def stable(client: Client) -> list[bytes]:
    return [place.hash for place in (await client.knowledge.frontier("notes")).positions]


async def recorded(running: Hub) -> None:
    """Three of one author, of which another holds one."""
    async with running.client("laptop-1") as first, running.client("laptop-2") as second:
        await first.knowledge.record([IntentionBatch("notes", chain("laptop-1", 3))])
        await second.knowledge.record([IntentionBatch("notes", chain("laptop-2", 1, b"laptop-1.1"))])


async def test_who_is_no_admin_changes_no_members(running: Hub) -> None:
    """A15 (2): a stranger removed a peer, and others pruned what it never had."""
    await recorded(running)
    async with running.client("laptop-3") as liar, running.bearer() as reader:
        for client in (liar, reader):
            with pytest.raises(DeniedError, match="needs the role admin"):
                await client.knowledge.change_members("notes", removed=["laptop-2"], hold=0.0)
            with pytest.raises(DeniedError, match="needs the role admin"):
                await client.knowledge.change_members("notes", added=[Member("laptop-2", "~~~~")])
            with pytest.raises(DeniedError, match="needs the role admin"):
                await client.knowledge.undo_members("notes")
        assert await stable(liar) == [b"laptop-1.1"]


async def test_a_mistaken_removal_is_undone_before_anything_is_lost(running: Hub) -> None:
    await recorded(running)
    async with running.client("operator") as operator:
        assert await operator.knowledge.change_members("notes", removed=["laptop-2"]) == 1
        assert await stable(operator) == [b"laptop-1.1"], "it still holds the frontier back"
        undone = await operator.knowledge.undo_members("notes")
        assert (undone.peer_ids, undone.active, undone.frontier_may_have_risen) == (("laptop-2",), 2, False)
        assert await operator.knowledge.change_members("notes", removed=["laptop-2"], hold=0.0) == 1
        assert await stable(operator) == [b"laptop-1.3"]
        undone = await operator.knowledge.undo_members("notes")
        assert (undone.active, undone.frontier_may_have_risen) == (2, True)
        assert await stable(operator) == [b"laptop-1.1"]
        with pytest.raises(ClientError, match="no change of members that can be undone"):
            await operator.knowledge.undo_members("notes")


async def test_an_incarnation_no_later_one_exceeds_is_refused_by_name(running: Hub) -> None:
    """A15 (3): the knowledge of a peer was nothing for ever, and nobody could change that."""
    await recorded(running)
    async with running.client("operator") as operator, running.client("laptop-2") as second:
        with pytest.raises(RefusedError, match=r"added\[0\].incarnation: is a time more than a day ahead"):
            await operator.knowledge.change_members("notes", added=[Member("laptop-2", "9999999999")])
        ahead = [replace(chain("laptop-2", 1)[0], hash=b"ahead", incarnation="9999-12-31T00:00:00Z")]
        with pytest.raises(RefusedError, match=r"intentions\[0\].incarnation: is a time more than a day ahead"):
            await second.knowledge.record([IntentionBatch("notes", tuple(ahead))])
        await operator.knowledge.change_members("notes", added=[Member("laptop-2", "1700000000")])
        with pytest.raises(RefusedError, match=r"added\[0\].incarnation: must be a time like 1700000000"):
            await operator.knowledge.change_members("notes", added=[Member("laptop-2", "~~~~")])
        assert await stable(operator) == []
        await operator.knowledge.change_members("notes", added=[Member("laptop-2", lower=True)])
        assert await stable(operator) == [b"laptop-1.1"]


async def test_a_removed_member_counts_no_longer_once_its_time_is_over_though_nothing_happens(tmp_path: Path) -> None:
    settings = replace(config(tmp_path), knowledge=KnowledgeParameters(removal_hold=0.2))
    async with serving(settings) as service, Client(service.address, timeout=DEADLINE) as client:
        made = IntentionBatch("notes", (*chain("laptop-1", 3), *chain("laptop-2", 1, b"laptop-1.1")))
        await client.knowledge.record([made])
        await client.knowledge.change_members("notes", removed=["laptop-2"])
        tracker = service.app._knowledge.store.tracker("notes")  # pyright: ignore[reportPrivateUsage]
        assert tracker is not None
        await until(lambda: not tracker.active("laptop-2"), "its time is over")
        assert await stable(client) == [b"laptop-1.3"]
