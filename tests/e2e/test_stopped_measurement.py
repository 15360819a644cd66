"""A measurement on hosts of its own that is stopped leaves no process and no namespace."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from tests.kit.network import Network, needs_namespaces
from tests.kit.until import until

pytestmark = [needs_namespaces]

MEASUREMENT = """
import asyncio
from bench.report import run
from tests.kit.network import Network
from tests.kit.process import Process

async def measure():
    async with Network(1) as network, Process("sleeper", "sleep", "1000", host=network.hosts[0]) as sleeper:
        sleeper.freeze()
        print(network.hub, network.hosts[0].namespace, sleeper.pid, flush=True)
        await asyncio.Event().wait()

run(measure())
"""


async def namespaces() -> set[str]:
    listed = await asyncio.create_subprocess_exec("ip", "netns", "list", stdout=asyncio.subprocess.PIPE)
    return set((await listed.communicate())[0].decode().split())


@pytest.mark.waits(10)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_measurement_with_all_that_it_started(number: signal.Signals) -> None:
    command = (sys.executable, "-c", MEASUREMENT)
    pipe = asyncio.subprocess.PIPE
    measurement = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    assert measurement.stdout is not None
    *names, pid = (await measurement.stdout.readline()).decode().split()
    assert set(names) <= await namespaces()
    measurement.send_signal(number)
    measurement.send_signal(number)  # an impatient second time
    _, errors = await measurement.communicate()
    assert (measurement.returncode, errors.decode()) == (1, "stopped by a signal\n")
    assert set(names).isdisjoint(await namespaces())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.waits(2)
async def test_a_network_whose_making_is_cancelled_is_removed() -> None:
    network = Network(3)

    async def is_begun() -> bool:
        return network.hosts[1].namespace in await namespaces()

    making = asyncio.create_task(network.__aenter__())
    await until(is_begun, "the second host is being made")
    making.cancel()
    await asyncio.wait([making])
    made = {network.hub, *(host.namespace for host in network.hosts)}
    if not making.cancelled():  # it was quicker
        await network.__aexit__(None, None, None)
    assert made.isdisjoint(await namespaces())
