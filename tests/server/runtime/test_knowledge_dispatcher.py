"""The gauges of knowledge, which are refreshed one store after the other."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from gossipcontrol.server.runtime import knowledge_dispatcher
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher

from tests.kit.until import until


class Shown:
    """Counts what is refreshed."""

    def __init__(self) -> None:
        self.count = 0

    def show(self, counts: object) -> None:
        self.count += 1


class Knowledge:
    """Says which store is to be counted."""

    def count_slices(self, store_id: str) -> str:
        return store_id


async def test_one_store_is_refreshed_at_a_time_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh that outlasted its interval began a second one, and one of them found no store left and failed."""
    running, most, release = 0, 0, asyncio.Event()

    async def count_slowly(work: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return work

    monkeypatch.setattr(knowledge_dispatcher, "GAUGE_INTERVAL", 0.005)
    monkeypatch.setattr(knowledge_dispatcher, "in_slices", count_slowly)
    shown = Shown()
    service: Any = SimpleNamespace(core=SimpleNamespace(knowledge=Knowledge()), clock=None, outbox=None)
    metrics: Any = shown
    dispatcher: Any = KnowledgeDispatcher(service, metrics)
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    dispatcher._show("a")
    await until(lambda: running == 1, "the first is counted")
    dispatcher._show("b")
    await until(lambda: dispatcher._timer is None, "the interval is over")
    dispatcher._show("c")
    await until(lambda: dispatcher._timer is None, "it is over again")
    release.set()
    await until(lambda: shown.count == 3, "all are shown")
    assert most == 1
    dispatcher.close()
    assert failures == []
