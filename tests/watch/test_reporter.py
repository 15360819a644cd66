"""Delivery to the real service over a real Unix socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.client import Client
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.decision import NetworkChange, TriggerResult
from gossipcontrol.watch.change import Change, ChangeKind
from gossipcontrol.watch.reporter import SLEEP_SHELF_LIFE

from tests.watch.desk import LIMIT, changes_counted, desk_for, serving


def change(kind: ChangeKind = ChangeKind.CHANGED, generation: int = 1, age: float = 0.0) -> Change:
    return Change(kind, generation, "test", boottime() - age)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sock"


async def test_a_change_is_delivered_once(path: Path) -> None:
    async with serving(path) as app, desk_for(path) as desk:
        desk.reporter.report(change())
        await desk.until(lambda: bool(desk.delivered))
        assert sum(changes_counted(app).values()) == 1
        assert desk.failed == []


async def test_a_change_waits_while_the_service_is_away_and_is_delivered_once(path: Path) -> None:
    async with desk_for(path) as desk:
        desk.reporter.report(change())
        await desk.until(lambda: len(desk.failed) >= 2)
        async with serving(path) as app:
            await desk.until(lambda: bool(desk.delivered))
            desk.reporter.report(change(ChangeKind.RESUMED, 2))
            await desk.until(lambda: len(desk.delivered) == 2)
            assert sorted(changes_counted(app).values()) == [1, 1]


async def test_of_each_kind_the_newest_waits(path: Path) -> None:
    async with desk_for(path) as desk:
        desk.reporter.report(change(generation=1))
        await desk.until(lambda: bool(desk.failed))
        desk.reporter.report(change(ChangeKind.RESUMED, generation=2))
        desk.reporter.report(change(generation=3))
        desk.reporter.report(change(generation=4))
        async with serving(path) as app:
            await desk.until(lambda: len(desk.delivered) == 2)
            assert [one.change.generation for one in desk.delivered] == [2, 4]
            assert sum(changes_counted(app).values()) == 2


async def test_a_service_that_was_restarted_gets_the_next_change(path: Path) -> None:
    async with desk_for(path) as desk:
        for generation in (1, 2):
            async with serving(path):
                desk.reporter.report(change(generation=generation))
                await desk.until(lambda: len(desk.delivered) == generation)  # noqa: B023 - awaited at once
    assert [one.change.generation for one in desk.delivered] == [1, 2]


async def test_a_refused_report_is_dropped_and_the_next_one_delivered(path: Path) -> None:
    async with serving(path), desk_for(path) as desk:
        desk.reporter.report(replace(change(), detail="x" * 257))
        await desk.until(lambda: bool(desk.refused))
        assert "detail" in str(desk.refused[0][1])
        desk.reporter.report(change(generation=2))
        await desk.until(lambda: bool(desk.delivered))
        assert len(desk.refused) == 1
        assert desk.failed == []


async def test_an_old_announcement_of_a_sleep_is_dropped(path: Path) -> None:
    async with serving(path) as app, desk_for(path) as desk:
        desk.reporter.report(change(ChangeKind.SLEEPING, 0, age=SLEEP_SHELF_LIFE + 1))
        desk.reporter.report(change())
        await desk.until(lambda: bool(desk.delivered))
        assert [one.change.kind for one in desk.delivered] == [ChangeKind.CHANGED]
        assert sum(changes_counted(app).values()) == 1


async def test_an_announcement_from_before_the_sleep_is_dropped(
    path: Path, host_sleeps: Callable[[float], None]
) -> None:
    async with serving(path) as app, desk_for(path) as desk:
        desk.reporter.report(change(ChangeKind.SLEEPING, 0))
        host_sleeps(2 * SLEEP_SHELF_LIFE)
        desk.reporter.report(change())
        await desk.until(lambda: bool(desk.delivered))
        assert [one.change.kind for one in desk.delivered] == [ChangeKind.CHANGED]
        assert sum(changes_counted(app).values()) == 1


async def test_a_sleep_is_never_announced_after_its_resume(path: Path) -> None:
    async with desk_for(path) as desk:
        desk.reporter.report(change(ChangeKind.SLEEPING, 0))
        await desk.until(lambda: bool(desk.failed))
        desk.reporter.report(change(ChangeKind.RESUMED, 2))
        async with serving(path):
            await desk.until(lambda: bool(desk.delivered))
            desk.reporter.report(change(generation=3))
            await desk.until(lambda: len(desk.delivered) == 2)
    assert [one.change.kind for one in desk.delivered] == [ChangeKind.RESUMED, ChangeKind.CHANGED]


async def test_a_report_that_waited_for_months_is_taken(path: Path) -> None:
    async with serving(path), desk_for(path) as desk:
        desk.reporter.report(change(age=90 * 24 * 3600.0))
        await desk.until(lambda: bool(desk.delivered))


async def test_a_report_made_while_the_service_was_down_for_ten_minutes_arrives_once_with_its_age(
    path: Path, host_sleeps: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[NetworkChange] = []
    send = Client.report_network_change

    async def listen(client: Client, report: NetworkChange) -> TriggerResult:
        result = await send(client, report)
        sent.append(report)
        return result

    monkeypatch.setattr(Client, "report_network_change", listen)
    async with desk_for(path) as desk:
        desk.reporter.report(replace(change(ChangeKind.RESUMED), slept=3600.0))
        await desk.until(lambda: bool(desk.failed))
        host_sleeps(600.0)
        async with serving(path) as app:
            await desk.until(lambda: bool(desk.delivered))
            desk.reporter.report(change(generation=2))
            await desk.until(lambda: len(desk.delivered) == 2)
            assert sorted(changes_counted(app).values()) == [1, 1]
    assert [one.kind for one in sent] == [ChangeKind.RESUMED, ChangeKind.CHANGED]
    assert [600 <= one.age < 600 + LIMIT for one in sent] == [True, False]
    assert [one.slept for one in sent] == [3600.0, 0.0]
    assert 600 <= desk.delivered[0].seconds < 600 + LIMIT
