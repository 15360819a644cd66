"""The simulator drives what runs: a core that is put together wrongly is found by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.turn import Turn
from gossipcontrol.sim.world import World

from tests.kit.sim.invariant import violations
from tests.kit.sim.scenario import STRANGERS

OBSERVE = Core._observe  # pyright: ignore[reportPrivateUsage]


def tell_liveness_what_was_refused(self: Any, event: Any, now: float) -> Turn:
    turn: Turn = self._decide(event, now)
    OBSERVE(self, turn, event, now)
    return turn


def ask_anybody(self: Any, node_id: str, store_id: str) -> bool:
    return True


def tell_liveness_nothing_of_sleep(self: Any, event: Any, now: float) -> Turn:
    turn: Turn = self._decide(event, now)
    return turn


def believe_strangers(self: Any, event: Any, now: float) -> Turn:
    turn = Turn([], [], [])
    OBSERVE(self, turn, event, now)
    return turn


MUTANTS = [
    ("_on_agent", tell_liveness_what_was_refused, "refused"),
    ("can_ask", ask_anybody, "asked"),
    ("_on_network_changed", tell_liveness_nothing_of_sleep, "sleep"),
    ("_on_sync_finished", believe_strangers, "strangers"),
]


def found(seeds: range) -> set[str]:
    """The rules that were broken."""
    broken: set[str] = set()
    for seed in seeds:
        world = World(STRANGERS, seed)
        world.run()
        broken |= {text.partition(":")[0] for text in world.losses + violations(STRANGERS.parameters, world.taken)}
    return broken


def test_nothing_is_told_to_a_part_that_does_not_concern_it() -> None:
    assert found(range(STRANGERS.seeds)) == set()


@pytest.mark.parametrize(("name", "mutant", "rule"), MUTANTS, ids=[name for name, _, _ in MUTANTS])
def test_a_core_that_is_put_together_wrongly_is_found(
    name: str, mutant: Callable[..., Any], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Core, name, mutant)
    assert rule in found(range(5))
