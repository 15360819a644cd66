"""Python's collector pauses the event loop briefly only: it looks at what is old while little is to do."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from gossipcontrol.server.runtime.collector import FULL_AFTER, FULL_AT_LAST, ROUNDS, YOUNG, Collector, set_aside


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


class Lab:
    """A collector that only counts how often it would look at everything."""

    def __init__(self) -> None:
        self.worked = 0.0
        self.full = 0
        self.collector = Collector(lambda: self.worked, self._collect_all)

    def _collect_all(self) -> None:
        self.full += 1

    def young(self, times: int) -> None:
        for _ in range(times):
            self.collector.on_collection("stop", {"generation": 1})

    def look(self, worked: float) -> int:
        self.worked += worked
        self.collector.look()
        return self.full


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    return Lab()


def test_everything_is_looked_at_once_much_came_and_little_is_to_do(lab: Lab) -> None:
    lab.young(FULL_AFTER - 1)
    assert lab.look(0.0) == 0
    lab.young(1)
    assert lab.look(0.5) == 0, "the thread works half of the time"
    assert lab.look(0.01) == 1
    assert lab.look(0.0) == 1, "once is enough"


def test_everything_is_looked_at_at_last_however_much_is_to_do(lab: Lab) -> None:
    lab.young(FULL_AT_LAST)
    assert lab.look(0.9) == 1


class Chain:
    """Refers to another one."""

    def __init__(self, other: Any) -> None:
        self.other = other


def test_a_collection_looks_at_young_objects_only_however_many_there_are() -> None:
    looked: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            looked.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))

    collector = Collector()
    collector.tune()
    gc.callbacks.append(note)
    try:
        kept = [Chain(None) for _ in range(20 * YOUNG * (ROUNDS + 1))]
    finally:
        gc.callbacks.remove(note)
        collector.close()
    assert len(looked) > 20, len(kept)
    assert max(looked) <= 2 * YOUNG * (ROUNDS + 2)


def test_a_cycle_that_was_set_aside_goes_when_everything_is_looked_at() -> None:
    collector = Collector(lambda: 0.0)
    collector.tune()
    try:
        one = Chain(None)
        one.other = one
        for _ in range(FULL_AFTER):
            collector.on_collection("stop", {"generation": 1})
        del one
        gc.collect(1)
        assert any(isinstance(each, Chain) for each in _frozen())
        collector.look()
        assert not any(isinstance(each, Chain) for each in _frozen())
    finally:
        collector.close()


def _frozen() -> list[object]:
    gc.unfreeze()
    objects = gc.get_objects()
    gc.freeze()
    return objects


def test_what_a_snapshot_lists_is_set_aside_while_a_collector_is_at_work() -> None:
    """Young collections looked at the lists of a snapshot of 97,000 slots for 20 to 45 ms."""
    gc.collect()
    before = gc.get_freeze_count()
    set_aside()
    assert gc.get_freeze_count() == before, "without a collector nothing would be looked at again"
    collector = Collector()
    collector.tune()
    try:
        young = [[number] for number in range(1000)]
        frozen = gc.get_freeze_count()
        set_aside()
        assert gc.get_freeze_count() >= frozen + len(young)
    finally:
        collector.close()
