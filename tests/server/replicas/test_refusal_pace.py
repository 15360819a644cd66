"""The turns that a standby gives to those that it refuses."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from gossipcontrol.client.failure import owner_of, retry_delay
from gossipcontrol.server.errors import NotOwner
from gossipcontrol.server.replicas.refusal_pace import LEAST, LONGEST, RATE, RefusalPace
from gossipcontrol.server.replicas.standby import Refusing


class Context:
    """A call that is refused."""

    async def abort(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str | bytes], ...]) -> None:
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


async def refused(refusing: Refusing, method: str) -> float | None:
    """The seconds until this call's turn, as its client reads them; None: it has none."""
    details: Any = SimpleNamespace(method=f"/gossipcontrol.v1.GossipControl/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await refusing.service(details).stream_stream(None, Context())
    assert owner_of(caught.value) == "two:1"
    return retry_delay(caught.value)


async def test_nobody_waits_behind_a_fleet_of_agents() -> None:
    """Agents and callers had the same turns: the first trigger after a takeover came when the fleet was through."""
    refusing = Refusing(lambda: NotOwner("this replica stands by", "two:1"), lambda: 100.0)
    turns = [await refused(refusing, "Attach") for _ in range(100)]
    assert turns[-1] == pytest.approx(99 / RATE, abs=0.002)
    assert await refused(refusing, "Rejoin") is None


async def test_whoever_asks_a_standby_learns_when_the_owner_may_be_replaced() -> None:
    refusing = Refusing(lambda: NotOwner("this replica stands by", "two:1", 1.1), lambda: 100.0)
    for method in ("Attach", "Rejoin"):
        assert 1.09 <= (await refused(refusing, method) or 0.0) < 1.2


def test_nobody_waits_while_few_come_and_a_fleet_has_turns() -> None:
    now = 100.0
    pace = RefusalPace(lambda: now)
    few = [pace.delay()]
    for _ in range(10):
        now += 2 / RATE
        few.append(pace.delay())
    assert few == [0.0] * 11
    now += 1.0
    turns = [pace.delay() for _ in range(900)]
    assert all(later - earlier < 1.5 / RATE for earlier, later in pairwise(turns[10:]))
    assert turns[-1] == pytest.approx(899 / RATE, abs=1e-6)


def test_the_turns_begin_when_there_may_be_an_owner() -> None:
    now = 100.0
    pace = RefusalPace(lambda: now)
    turns: list[float] = []
    for _ in range(300):  # in 0.6 s, while the owner is due in 1.2, 1.1, ...
        turns.append(now + pace.delay(101.2 - now))
        now += 0.002
    assert min(turns) >= 101.2 - 1e-9
    assert 101.2 + 290 / RATE < max(turns) < 101.2 + 300 / RATE, "one after another, from then on"


def test_more_than_have_turns_come_over_all_of_the_time() -> None:
    pace = RefusalPace(lambda: 100.0)
    turns = [pace.delay(0.5) for _ in range(round(3 * LONGEST * RATE))]
    late = turns[round(LONGEST * RATE) + 1 :]
    assert all(0.5 + LEAST <= turn <= 0.5 + LONGEST for turn in late)
    assert min(late) < 0.8 < LONGEST < max(late)
