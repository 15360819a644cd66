"""The invariants hold in every scenario, over many seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import TimePassed
from gossipcontrol.server.core.finding import NodeSuspected
from gossipcontrol.sim.record import Taken
from gossipcontrol.sim.scenario import Scenario
from gossipcontrol.sim.world import World

from tests.kit.sim.invariant import violations
from tests.kit.sim.scenario import LARGE, SMALL
from tests.kit.sim.shrink import describe, shrink

SEEDS = int(os.environ.get("GOSSIPCONTROL_SEEDS", "50"))
"""Most seeds of one scenario: so many find every mutant of docs/verification.md, and 350 are all 1,060."""
CHUNK = 25
"""Seeds of one test, so that they spread over workers."""


def chunks() -> Iterator[object]:
    for scenario in (*SMALL, *LARGE):
        count = min(scenario.seeds, SEEDS)
        for first in range(0, count, CHUNK):
            seeds = range(first, min(first + CHUNK, count))
            yield pytest.param(scenario, seeds, id=f"{scenario.name} {seeds.start}-{seeds.stop - 1}")


def rest_of(scenario: Scenario) -> float:
    """Seconds in which everything that waits or is parked comes to its end."""
    slots = scenario.nodes * scenario.stores_per_node
    return scenario.parameters.park_time + 20 * scenario.parameters.window + 3 * slots / scenario.parameters.rate


@pytest.mark.parametrize(("scenario", "seeds"), list(chunks()))
def test_the_invariants_hold(scenario: Scenario, seeds: range) -> None:
    for seed in seeds:
        world = World(scenario, seed)
        taken = list(world.run())
        found = world.losses + violations(scenario.parameters, world.finish(rest_of(scenario)))
        if found:
            small = shrink(scenario.parameters, taken, violations, rest_of(scenario))
            pytest.fail(f"{scenario.name!r}, seed {seed}: {found[:5]}\n{describe(small)[:20_000]}")


def test_there_are_a_thousand_seeds() -> None:
    assert sum(scenario.seeds for scenario in SMALL) >= 1000


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_the_same_seed_gives_the_same_trace(scenario: Scenario) -> None:
    assert World(scenario, 7).run() == World(scenario, 7).run()
    assert World(scenario, 7).run() != World(scenario, 8).run()


@pytest.mark.parametrize("seed", range(20))
def test_where_nobody_asks_only_what_was_found_starts(seed: int) -> None:
    """Neighbours that come and go start nothing; a node that loses all of them, or a store in pieces, does."""
    (scenario,) = [one for one in SMALL if one.name == "neighbours churn and nobody asks"]
    taken = World(scenario, seed).run()
    assert len(taken) > 300
    found: set[tuple[str, str, Cause]] = set()
    for one in taken:
        triggers = [finding for finding in one.findings if isinstance(finding, NodeSuspected) and finding.triggers]
        found |= {(finding.node_id, finding.store_id, finding.cause) for finding in triggers}
        for start in one.effects:
            if isinstance(start, StartRejoin):
                assert {(start.node_id, start.store_id, cause) for cause in start.causes} <= found


def test_a_failing_run_shrinks_to_the_events_that_matter() -> None:
    def check(parameters: Parameters, taken: Sequence[Taken]) -> list[str]:
        del parameters
        starts = [effect for one in taken for effect in one.effects if isinstance(effect, StartRejoin)]
        return ["invented: n1 starts twice in one store"] * (sum(one.node_id == "n1" for one in starts) > 2)

    scenario = SMALL[1]
    taken = World(scenario, 3).run()
    assert check(scenario.parameters, taken)
    small = shrink(scenario.parameters, taken, check, 60.0)
    assert check(scenario.parameters, small)
    assert sum(not isinstance(one.event, TimePassed) for one in small) <= 4
