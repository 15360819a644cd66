"""What an entry of each book costs is measured on real objects: never more than its constant, nor far less."""

from __future__ import annotations

import gc
import tracemalloc
import uuid
from collections.abc import Callable

import pytest
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.event import (
    ChangeKind,
    Event,
    LivenessReported,
    NetworkChanged,
    NodeAttached,
    RejoinRequested,
)
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.memory import MemoryBudget

COUNT = 400
"""Events of each kind."""
SLACK = 4.0
"""How many times what is measured the books may count: constants hold for ids of the longest length, and for tables
that have just grown."""


def name() -> str:
    return uuid.uuid4().hex * 4  # 128 characters, the longest id


def names(count: int) -> dict[str, float]:
    return {name(): 1.0 for _ in range(count)}


EVENTS: dict[str, Callable[[int], Event]] = {
    "nodes and stores that say nothing": lambda _: LivenessReported(name(), name()),
    "stores of few nodes": lambda number: LivenessReported(f"n{number // 100}", name()),
    "nodes of one store": lambda _: LivenessReported(name(), "s", heard={"p": 1.0}),
    "attached nodes": lambda _: NodeAttached(name(), name(), (name(),), host_id=name()),
    "attached nodes of one store": lambda _: NodeAttached(name(), name(), ("s",), host_id=name()),
    "peers heard": lambda number: LivenessReported(f"n{number}", "s", heard=names(20)),
    "neighbours": lambda number: LivenessReported(f"n{number}", "s", neighbors=names(20)),
    "parked rejoins": lambda number: RejoinRequested(
        f"n{number % 2000}", (name(),), request_id=name(), evidence="x" * 299 + str(number)
    ),
    "network events": lambda number: NetworkChanged(name(), (), ChangeKind.CHANGED, name(), number + 1),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_a_book_counts_at_least_what_its_entries_take(kind: str) -> None:
    core, make = Core(), EVENTS[kind]
    for number in range(50):
        core.handle(make(COUNT + number), 1.0)
    before = core.memory.used()
    gc.collect()
    tracemalloc.start()
    started = tracemalloc.get_traced_memory()[0]
    for number in range(COUNT):
        core.handle(make(number), 1.0)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - started
    tracemalloc.stop()
    counted = core.memory.used() - before
    assert taken <= counted <= SLACK * taken, core.memory.by_book()


@pytest.mark.parametrize("chains", [1, 50, 1500])
def test_the_book_of_intentions_counts_at_least_what_they_take(chains: int) -> None:
    core = Core()
    gc.collect()
    tracemalloc.start()
    started = tracemalloc.get_traced_memory()[0]
    for author in range(chains):
        made = [
            Intention(
                f"{author}".ljust(128),
                f"{author}-{number}".encode().ljust(32),
                f"{author}-{number - 1}".encode().ljust(32) if number else b"",
            )
            for number in range(max(3, 3000 // chains))
        ]
        core.handle(IntentionsRecorded("s", tuple(made)), 1.0)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - started
    tracemalloc.stop()
    counted = core.memory.used()
    assert taken <= counted <= SLACK * taken


def test_books_of_one_name_are_shown_as_one() -> None:
    budget = MemoryBudget(100)
    budget.add("a", lambda: 3, 5)
    budget.add("a", lambda: 2, 2)
    budget.add("b", lambda: 7)
    assert budget.by_book() == {"a": 19, "b": 7}
    assert budget.used() == 26
