"""Troubles of real networks: over within their bounds, nobody in reach called away, and never worse than bare nodes."""

from __future__ import annotations

import pytest
from gossipcontrol.sim.field import FieldWorld

from tests.kit.sim.comparison import breaches
from tests.kit.sim.trouble import BOTH, TROUBLES, Shape, Trouble, random_trouble

SEEDS = {2: 2, 3: 2, 6: 1}
"""Seeds by number of nodes: a run costs about its pairs."""
STOPS = ("freeze", "pause")
"""Steps that stop a service."""
SERVED = [trouble for trouble in TROUBLES if not any(step.what in STOPS for step in trouble.steps)]
APART = [trouble for trouble in TROUBLES if trouble.more_than_bare]


@pytest.mark.parametrize("nodes", [2, 3, 6])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_a_trouble_is_over_within_its_bound_and_never_worse_than_for_bare_nodes(trouble: Trouble, nodes: int) -> None:
    assert breaches(trouble, nodes, BOTH, SEEDS[nodes]) == []


@pytest.mark.parametrize("nodes", [2, 3, 6])
@pytest.mark.parametrize("trouble", SERVED, ids=lambda trouble: trouble.name)
def test_nodes_beside_services_of_their_own_recover_each_by_itself(trouble: Trouble, nodes: int) -> None:
    """A site that is renumbered stays apart, as bare nodes do: nobody is left who could tell the new addresses."""
    assert breaches(trouble, nodes, [Shape.SIDECARS], SEEDS[nodes]) == []


@pytest.mark.parametrize("seed", range(16))
def test_troubles_on_top_of_each_other_are_over_within_the_bound_of_a_site(seed: int) -> None:
    assert breaches(random_trouble(seed), 3, BOTH, 1) == []


@pytest.mark.parametrize("trouble", APART, ids=lambda trouble: trouble.name)
def test_bare_nodes_stay_apart_where_those_with_agents_must_not(trouble: Trouble) -> None:
    world = FieldWorld(trouble.scenario(Shape.BARE, 3), 0)
    world.run()
    assert world.outcome.broken_at >= trouble.duration - 1
