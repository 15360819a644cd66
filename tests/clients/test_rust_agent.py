"""The agent for iroh-gossip in Rust: its own checks, and its reference node against the service."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from gossipcontrol.client import Client, Outcome, PeerState

from tests.clients.built import LIMIT, Built
from tests.kit.cluster import STORE
from tests.kit.fleet import Fleet
from tests.kit.hub import TABLE, hub
from tests.kit.markdown import TOP
from tests.kit.network import needs_namespaces
from tests.kit.process import Process
from tests.kit.recovery import CUT, cut_off
from tests.kit.service_lab import Service
from tests.kit.standbys import replicas
from tests.kit.swarm import Swarm
from tests.kit.until import until

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

SOON = 30.0
"""Seconds for what takes milliseconds on a quiet machine."""
PAUSE = 0.1
"""Seconds between two questions to the service."""
AT_ONCE = 1.0
"""Seconds within which a node hears its peers again once the path to them is back."""


async def test_the_crate_passes_its_own_checks(rust_agent: Built) -> None:
    """Format, clippy without warnings, the unit tests, and the example in the documentation."""
    done = await rust_agent.run("env", f"PROTOS={TOP / 'proto'}", "./check.sh", within=LIMIT)
    assert done.code == 0, done.output + done.errors
    assert "test result: ok" in done.output


def node(built: Built, name: str, *flags: str, environment: Mapping[str, str] | None = None) -> Process:
    """A reference node, which is not yet started."""
    command = (str(built.directory / built.language.command[0]), "--json", "--store", STORE, "--heartbeat", "0.1")
    return Process(name, *command, "--no-watch", *flags, environment=environment)


async def test_two_nodes_hear_each_other_and_the_service_sees_both(rust_agent: Built, service: Service) -> None:
    async with node(rust_agent, "first", "--address", service.address, "--name", "kitchen-laptop") as first:
        said = await first.wait_for("node", SOON)
        port = said["addresses"][0].rpartition(":")[2]
        contact = f"{said['node']}@127.0.0.1:{port}"
        async with node(rust_agent, "second", "--address", service.address, "--peer", contact) as second:
            other = (await second.wait_for("node", SOON))["node"]
            await second.wait_for("heard", SOON, peer=said["node"], direct=True)
            await first.wait_for("heard", SOON, peer=other, direct=True)
            await first.wait_for("presence", SOON, peer=other, state="online")
            async with Client(service.address) as client:
                peers = {peer.peer_id: peer async for peer in client.list_peers(STORE)}
                assert {one.state for one in peers.values()} == {PeerState.ONLINE}
                assert peers[said["node"]].name == "kitchen-laptop"
                await client.rejoin(other)
                await second.wait_for("result", SOON, detail="ok")

                async def is_verified() -> bool:
                    return [one.outcome async for one in client.list_rejoins()] == [Outcome.VERIFIED]

                await until(is_verified, "the rejoin is verified", SOON, PAUSE)
        await first.wait_for("presence", SOON, peer=other, state="left")


async def test_a_node_attaches_again_to_a_service_that_came_back(rust_agent: Built, service: Service) -> None:
    async with node(rust_agent, "node", "--address", service.tcp) as one:
        await one.wait_for("attached", SOON)
        await service.app.stop()
        await one.wait_for("detached", SOON)
        await one.wait_for("unattached", SOON)
        assert await one.stop() == 0


async def test_a_node_finds_the_replica_that_serves_and_goes_to_the_next(rust_agent: Built, tmp_path: Path) -> None:
    async with replicas(tmp_path) as three:
        await three.serve(1)
        async with node(rust_agent, "node", "--address", three.listed) as one:
            await one.wait_for("attached", SOON)
            await three.serve(2)
            await one.wait_for("detached", SOON)
            await one.wait_for("attached", SOON, count=2)


async def test_a_node_attaches_over_tls_with_its_certificate(rust_agent: Built, tmp_path: Path) -> None:
    async with hub(tmp_path) as running:
        shown = running.credentials("laptop-1")
        files = {"AUTHORITY": shown.authority, "CERTIFICATE": shown.certificate, "KEY": shown.key}
        environment = {f"GOSSIPCONTROL_TLS_{name}": path for name, path in files.items()}
        async with node(rust_agent, "node", "--address", running.address, environment=environment) as one:
            node_id = (await one.wait_for("node", SOON))["node"]
            refused = await one.wait_for("unattached", SOON)
            assert "PermissionDenied" in refused["detail"]
            running.write_table(TABLE.replace('nodes = ["{name}"]', f'nodes = ["{node_id}"]'))
            await one.wait_for("attached", SOON)


async def test_wrong_options_are_refused_with_a_reason(rust_agent: Built) -> None:
    command = rust_agent.language.command[0]
    for flags, reason in (
        (("--address", "http://x"), "is a URL"),
        (("--name", "x" * 65), "name must have 0 to 64 bytes"),
        (("--peer", "x"), "is no id of a node"),
    ):
        done = await rust_agent.run(command, "--store", STORE, *flags)
        assert (done.code, done.output) == (2, "")
        assert reason in done.errors


@needs_namespaces
@pytest.mark.waits(10)
async def test_a_path_that_loses_large_packets_keeps_no_message_back(rust_agent: Built, tmp_path: Path) -> None:
    """A VPN with a smaller MTU and no ICMP: QUIC finds the size that passes, and nobody rejoins for it."""
    program = (str(rust_agent.directory / rust_agent.language.command[0]),)
    async with (
        Fleet(tmp_path, near=2, heartbeat=0.2, size=4000, program=program) as fleet,
        Client(fleet.address) as client,
    ):
        first, second = fleet.nodes
        await first.wait_for("heard", SOON, peer=fleet.ids[1])
        await second.wait_for("heard", SOON, peer=fleet.ids[0])
        await fleet.network.narrow()

        async def is_lost() -> bool:
            return await fleet.network.lost() > 0

        await until(is_lost, "large packets are lost", SOON, PAUSE)
        since = time.time()
        await first.wait_for("heard", SOON, count=10, after=since, peer=fleet.ids[1])
        await second.wait_for("heard", SOON, count=10, after=since, peer=fleet.ids[0])
        assert not [one async for one in client.list_rejoins()]


@pytest.fixture
async def poisoned(rust_agent: Built, tmp_path: Path) -> AsyncIterator[Swarm]:
    """Two nodes that also join by themselves while they are alone, as many apps do; the first has an agent."""
    program = (str(rust_agent.directory / rust_agent.language.command[0]), "--own-joins")
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(Swarm(tmp_path, hosts=2, heartbeat=0.1, program=program))


@needs_namespaces
@pytest.mark.waits(CUT + 5)
async def test_two_nodes_that_dialled_in_vain_from_both_sides_hear_each_other_at_once(poisoned: Swarm) -> None:
    """iroh-gossip issue 71 and pull request 159: a peer whose dial failed is never dialled again."""
    swarm = poisoned
    await cut_off(swarm)
    await swarm.node.wait_for("down", SOON)
    since = time.time()
    await swarm.host.link_up()
    heard = await swarm.node.wait_for("heard", SOON, after=since, peer=swarm.ids[1])
    there = await swarm.others[0].wait_for("heard", SOON, after=since, peer=swarm.ids[0])
    assert max(float(heard["ts"]), float(there["ts"])) - since < AT_ONCE
    async with Client(swarm.address) as client:

        async def was_ordered() -> bool:
            return bool([one async for one in client.list_rejoins() if one.outcome is not Outcome.SKIPPED])

        await until(was_ordered, "the service ordered a rejoin")
