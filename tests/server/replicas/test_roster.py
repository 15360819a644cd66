"""Who is listed as a replica, and for how long, by the owner's own clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from gossipcontrol.server.replicas.roster import GONE_TIME, Notice, Roster, read_notice, write_notice

from tests.kit.virtual_loop import VirtualLoop


class Shared:
    """The notices, and a log that has so many entries."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.last = 0

    async def put(self, holder: str, value: bytes) -> None:
        self.values[holder] = value

    async def all(self, most: int) -> dict[str, bytes]:
        return dict(sorted(self.values.items())[:most])

    async def delete(self, holder: str) -> None:
        self.values.pop(holder, None)

    async def head(self) -> int:
        return self.last


class Replica:
    """One that says what it is given."""

    def __init__(self, shared: Shared, holder: str, **said: Any) -> None:
        self.notice = Notice(holder=holder, **said)
        self.roster = Roster(shared, self._next, now=asyncio.get_running_loop().time)

    def _next(self) -> Notice:
        self.notice = replace(self.notice, number=self.notice.number + 1)
        return self.notice


def run(live: Any) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live())


def test_one_that_falls_silent_ages_and_is_forgotten_whatever_clock_it_had() -> None:
    async def live() -> None:
        shared = Shared()
        owner, dead = Replica(shared, "b", is_owner=True, epoch=2), Replica(shared, "a", is_owner=True, epoch=1)
        shared.values["a"] = write_notice(replace(dead.notice, at=1e12))
        owner.roster.start()
        await asyncio.sleep(30.0)
        assert [(one.notice.holder, one.role) for one in owner.roster.listed()] == [("b", "owner"), ("a", "replaced")]
        assert owner.roster.listed()[1].age == pytest.approx(30.0, abs=0.1)
        await asyncio.sleep(GONE_TIME)
        assert [one.notice.holder for one in owner.roster.listed()] == ["b"]
        assert list(shared.values) == ["b"]
        await owner.roster.stop()
        assert shared.values == {}

    run(live)


def test_the_lag_of_a_standby_is_what_it_had_not_applied_when_it_said_so() -> None:
    async def live() -> None:
        shared = Shared()
        owner, hot = Replica(shared, "o", is_owner=True, applied=90, head=90), Replica(shared, "h", applied=70)
        cold = Replica(shared, "c")
        shared.last = 75
        for one in (hot, cold, owner):
            await one.roster.exchange()
        assert [(one.role, one.lag) for one in owner.roster.listed()] == [
            ("owner", 0), ("standby", None), ("standby", 5),
        ]  # fmt: skip

    run(live)


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"null", b'{"epoch": "1"}', b'{"epoch": true}', b'{"applied": 1.5}', b" " * 5000, b"\xff"],
)
def test_what_is_no_notice_is_left_out(value: bytes) -> None:
    assert read_notice("h", value) is None


def test_a_notice_of_a_newer_version_is_read_without_what_is_new() -> None:
    assert read_notice("h", b'{"epoch": 3, "holder": "other", "colour": [1]}') == Notice(holder="h", epoch=3)
