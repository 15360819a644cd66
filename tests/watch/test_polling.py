from __future__ import annotations

from contextlib import aclosing

import pytest
from gossipcontrol.watch.fingerprint import Filter, take_fingerprint
from gossipcontrol.watch.polling import PollingSource, take_snapshot

from tests.kit.network import Network, what_is_missing
from tests.watch.lab import inside


@pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "nothing is missing")
async def test_it_sees_the_address_that_packets_leave_from() -> None:
    async with Network(hosts=1) as network:
        host = network.hosts[0]
        with inside(host):
            home = take_fingerprint(take_snapshot(), Filter.default())
        await host.move("10.77.0.77")
        with inside(host):
            away = take_fingerprint(take_snapshot(), Filter.default())
        await host.link_down()
        with inside(host):
            none = take_fingerprint(take_snapshot(), Filter.default())
    assert home.describe() == "out0 via link; 10.77.0.2"
    assert away.describe() == "out0 via link; 10.77.0.77"
    assert not none.has_default_route


async def test_it_looks_at_the_start_and_once_per_interval() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with aclosing(PollingSource(5.0, sleep).watch()) as states:
        for _ in range(3):
            await anext(states)
    assert waits == [5.0, 5.0]
