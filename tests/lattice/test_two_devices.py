"""Two devices that were cut for a minute, with the real service: what GossipControl makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gossipcontrol.agent.agent import Agent
from gossipcontrol.client import Client, Outcome, RejoinRecord
from gossipcontrol.lattice.node import LatticeNode

from tests.kit.fake_lattice import FakeDaemon, daemons, store
from tests.kit.service_lab import Service, ends_soon
from tests.kit.until import until

NOTES = store(1)


@asynccontextmanager
async def attached(
    service: Service, devices: list[FakeDaemon], restart_command: tuple[str, ...] = ()
) -> AsyncGenerator[None]:
    """An agent beside each daemon, attached to the service."""
    async with AsyncExitStack() as stack:
        for device in devices:
            node = await LatticeNode.connect(device.socket, can_dial=lambda: True)
            stack.push_async_callback(node.close)
            host_id = f"host-{device.node_id[:4]}"
            agent = Agent(node, service.address, host_id=host_id, restart_command=restart_command)
            await node.begin(agent)
            following = asyncio.create_task(node.run(agent))
            stack.push_async_callback(stop, following)
            await stack.enter_async_context(agent)
            await agent.attached.wait()
        yield


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def rejoins(client: Client) -> list[RejoinRecord]:
    return [one async for one in client.list_rejoins()]


@ends_soon
async def test_two_devices_that_dialled_each_other_in_vain_are_advised_to_restart(
    service: Service, tmp_path: Path
) -> None:
    async with daemons(tmp_path, "a", "b") as [a, b], Client(service.address) as client, attached(service, [a, b]):
        a.network.cut(a, long=True)
        a.network.heal(a)
        await client.rejoin(a.node_id, [NOTES])
        await until(lambda: bool(service.lines("restart advised")), "the service says what is left")
        assert not a.seen_at
        await b.stop()
        await b.start()
        assert a.seen_at


@ends_soon
async def test_the_operators_restart_command_is_carried_out_and_recorded(service: Service, tmp_path: Path) -> None:
    told = tmp_path / "restart"
    command = ("touch", str(told))  # a real one would be: systemctl --user restart lattice
    async with (
        daemons(tmp_path, "a", "b") as [a, b],
        Client(service.address) as client,
        attached(service, [a, b], command),
    ):
        a.network.cut(a, long=True)
        a.network.heal(a)
        await client.rejoin(a.node_id, [NOTES])
        await until(told.exists, "the command ran")

        async def is_recorded() -> bool:
            return any(one.restart is not None and one.restart.exit_code == 0 for one in await rejoins(client))

        await until(is_recorded, "its outcome is in the record of the rejoin")
        await a.stop()
        await a.start()
        assert a.seen_at


@ends_soon
async def test_two_devices_whose_daemons_dial_anew_are_healed_by_the_first_rejoin(
    service: Service, tmp_path: Path
) -> None:
    async with (
        daemons(tmp_path, "a", "b", is_cured=True) as [a, b],
        Client(service.address) as client,
        attached(service, [a, b]),
    ):
        a.network.cut(a, long=True)
        a.network.heal(a)
        await client.rejoin(a.node_id, [NOTES])

        async def is_healed() -> bool:
            return [one.outcome for one in await rejoins(client) if one.node_id == a.node_id] == [Outcome.VERIFIED]

        await until(is_healed, "the neighbour that came up proves the rejoin")
        assert not service.lines("restart advised")
