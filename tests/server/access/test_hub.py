"""A real hub over TLS: who comes in, and what each may do."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import pytest
from gossipcontrol.agent import Agent
from gossipcontrol.client import (
    Cause,
    ChangeKind,
    Client,
    Credentials,
    DeniedError,
    LivenessReport,
    NetworkChange,
    NotFoundError,
    PastTrigger,
    PeerObservation,
    UnreachableError,
)
from gossipcontrol.server.access.authority import AUTHORITY

from tests.agent.fake import FakeNode
from tests.kit.hub import TABLE, Hub, hub
from tests.kit.until import DEADLINE, until


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path) as one:
        yield one


async def test_an_agent_attaches_with_its_certificate_and_speaks_for_its_own_node_only(running: Hub) -> None:
    node = FakeNode("laptop-1", "notes")
    async with Agent(node, running.address, host_id="laptop-1", credentials=running.credentials("laptop-1")) as agent:
        await until(agent.attached.is_set, "it attaches")
        async with running.client("laptop-1") as own, running.client("laptop-2") as other:
            decided = await own.rejoin("laptop-1", ["notes"], cause=Cause.MANUAL)
            with pytest.raises(DeniedError, match="node_id: is not in the nodes of agent or admin laptop-2"):
                await other.rejoin("laptop-1", ["notes"])
            with pytest.raises(DeniedError, match="host_id"):
                await other.report_network_change(NetworkChange(kind=ChangeKind.RESUMED, host_id="laptop-1"))
            with pytest.raises(DeniedError, match=r"store_ids\[0\]"):
                await own.rejoin("laptop-1", ["letters"])
            [told] = [one async for one in own.list_rejoins()]
            assert "asked by laptop-1 ipv4:127.0.0.1:" in told.triggers[0].reason
        assert len(decided.decisions) == 1
        await until(lambda: bool(node.rejoins), "the rejoin is carried out")
    [line] = [line for line in running.service.lines("decided") if line["node"] == "laptop-1"][:1]
    assert line["caller"].startswith("laptop-1 ipv4:127.0.0.1:")


async def test_another_node_cannot_be_attached(running: Hub) -> None:
    node = FakeNode("laptop-1", "notes")
    async with Agent(node, running.address, credentials=running.credentials("laptop-2")) as agent:
        await until(lambda: agent.stats.failed_attempts >= 1, "it is refused")
        assert not agent.attached.is_set()
    assert any("register.node_id" in line["reason"] for line in running.service.lines("call denied"))


async def test_a_reader_sees_its_stores_only(running: Hub) -> None:
    node = FakeNode("laptop-1", "notes", "photos")
    async with (
        Agent(node, running.address, credentials=running.credentials("laptop-1")) as agent,
        running.bearer() as reader,
        running.client("operator") as operator,
    ):
        await until(agent.attached.is_set, "it attaches")
        for store in ("notes", "photos"):
            await operator.rejoin("laptop-1", [store])
        assert {store.store_id async for store in operator.list_stores()} == {"notes", "photos"}
        assert {store.store_id async for store in reader.list_stores()} == {"notes"}
        assert {rejoin.store_id async for rejoin in reader.list_rejoins()} == {"notes"}
        hidden = [rejoin.rejoin_id async for rejoin in operator.list_rejoins(store_id="photos")]
        with pytest.raises(NotFoundError):
            await reader.explain(PastTrigger(rejoin_id=hidden[0]))
        with pytest.raises(DeniedError, match="store_id"):
            _ = [peer async for peer in reader.list_peers("photos")]
        with pytest.raises(DeniedError, match="needs the role agent or admin"):
            await reader.rejoin("laptop-1", ["notes"])


@pytest.mark.parametrize("token", ["wrong", "old", "a" * 600])
async def test_a_token_that_is_unknown_or_over_is_refused(running: Hub, token: str) -> None:
    async with running.bearer(token) as reader:
        with pytest.raises(DeniedError, match="UNAUTHENTICATED"):
            _ = [store async for store in reader.list_stores()]
    assert all(token not in str(line) for line in running.service.lines())


async def test_no_token_and_no_certificate_come_in(running: Hub) -> None:
    authority = str(running.authority.path(AUTHORITY, "crt"))
    async with Client(running.token_address, credentials=Credentials(authority=authority)) as nobody:
        with pytest.raises(DeniedError, match="bearer token"):
            _ = [store async for store in nobody.list_stores()]
    for address in (running.address, running.address.removeprefix("tls:"), running.token_address.removeprefix("tls:")):
        async with Client(address, timeout=1.0, credentials=Credentials(authority=authority)) as nobody:
            with pytest.raises(UnreachableError):
                _ = [store async for store in nobody.list_stores()]


async def test_a_certificate_of_another_authority_does_not_come_in(running: Hub, tmp_path: Path) -> None:
    from gossipcontrol.server.access.authority import Authority

    foreign = Authority(tmp_path / "foreign")
    foreign.found()
    foreign.issue("operator", 1)
    shown = Credentials(
        authority=str(running.authority.path(AUTHORITY, "crt")),
        certificate=str(foreign.path("operator", "crt")),
        key=str(foreign.path("operator", "key")),
    )
    async with Client(running.address, timeout=1.0, credentials=shown) as stranger:
        with pytest.raises(UnreachableError):
            _ = [store async for store in stranger.list_stores()]


async def test_a_valid_certificate_without_an_identity_is_refused(running: Hub) -> None:
    async with running.client("printer") as printer:
        with pytest.raises(DeniedError, match="no identity here has its name"):
            _ = [store async for store in printer.list_stores()]


async def test_a_revoked_certificate_ends_at_the_next_call(running: Hub) -> None:
    async with running.client("laptop-1") as client:
        _ = [store async for store in client.list_stores()]
        running.authority.revoke("laptop-1")
        running.look()
        with pytest.raises(DeniedError, match="revoked"):
            _ = [store async for store in client.list_stores()]


def kept(shown: Credentials, directory: Path) -> Credentials:
    """Copies of the files, which a revocation does not remove."""
    paths = {one.name: directory / Path(getattr(shown, one.name)).name for one in fields(shown) if one.name != "token"}
    for name, path in paths.items():
        shutil.copy(getattr(shown, name), path)
    return Credentials(**{name: str(path) for name, path in paths.items()})


async def test_streams_of_a_revoked_certificate_end(running: Hub, tmp_path: Path) -> None:
    node = FakeNode("laptop-1", "notes")
    shown = kept(running.credentials("laptop-1"), tmp_path)
    async with (
        Agent(node, running.address, credentials=shown) as agent,
        running.client("laptop-1") as watcher,
        running.client("operator") as operator,
    ):
        await until(agent.attached.is_set, "it attaches")
        presence = watcher.watch_peers("notes")
        await anext(presence)
        running.authority.revoke("laptop-1")
        running.look()
        agent.neighbor_up("notes", "laptop-9")
        await until(lambda: not agent.attached.is_set(), "its stream ends at the next frame")
        await operator.peer_liveness(
            [LivenessReport(node_id="laptop-2", store_id="notes", peers=(PeerObservation("laptop-3", 0.0),))]
        )
        with pytest.raises(DeniedError, match="revoked"):
            await asyncio.wait_for(until_it_ends(presence), DEADLINE)


async def until_it_ends(presence: AsyncIterator[object]) -> None:
    """Read until an error ends it."""
    async for _ in presence:
        pass


async def test_a_changed_table_counts_at_once_and_a_broken_one_changes_nothing(running: Hub) -> None:
    async with running.client("laptop-1") as client:
        _ = [store async for store in client.list_stores()]
        running.write_table("nonsense")
        _ = [store async for store in client.list_stores()]
        assert "is not TOML" in running.service.lines("access not reloaded")[0]["mistake"]
        running.write_table(TABLE.replace("laptop-*", "desktop-*"))
        with pytest.raises(DeniedError, match="no identity"):
            _ = [store async for store in client.list_stores()]


async def test_the_socket_of_the_service_may_do_everything(running: Hub) -> None:
    async with Client(running.service.address, timeout=DEADLINE) as local:
        await local.rejoin("anything", ["letters"], park=True)
        assert [store.store_id async for store in local.list_stores()] == ["letters"]
