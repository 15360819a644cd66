"""Dials that poison, as in iroh-gossip: who heals by a knock, who by nothing but a restart, and how soon it is advised.

Lattice at its newest head behaves so with real daemons: cut for 60 s, two stay apart until one is restarted; of three,
the two others bring the third back at once when they are asked to rejoin (iroh-gossip issue 71, pull request 159).
"""

from __future__ import annotations

import random
from collections.abc import Collection

import pytest
from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.sim.deaf import DeafWorld
from gossipcontrol.sim.scenario import Scenario, Step, What

from tests.kit.sim.invariant import violations

ADVISED = 15.0
"""Seconds from the path's return to the advice, in a store of two devices."""
HEALED = 15.0
"""Seconds from the path's return to a whole overlay, where a direction is left in which nobody has dialled in vain."""
CUT_AT = 40.0


def run(
    nodes: int,
    seed: int,
    *,
    length: float,
    what: What = "outage",
    share: float = 0.1,
    restarts: bool = False,
    rest: float = 60.0,
    poisoned: Collection[tuple[str, str]] = (),
    capabilities: frozenset[Capability] = frozenset(),
) -> DeafWorld:
    """Cut a share of the hosts off; those in ``poisoned`` have dialled in vain when the path is back, in any case."""
    step = Step(at=CUT_AT, what=what, share=share, length=length)
    scenario = Scenario(
        name=f"{nodes} nodes cut for {length:g} s", nodes=nodes, stores=1, report_interval=2, steps=(step,),
        duration=CUT_AT + length + rest,
    )  # fmt: skip
    world = DeafWorld(scenario, seed, restarts=restarts, poisoned=poisoned, capabilities=capabilities)
    world.run()
    assert violations(scenario.parameters, world.taken) == []
    assert world.losses == []
    return world


@pytest.mark.parametrize("capabilities", [frozenset[Capability](), frozenset({Capability.RESUBSCRIBE})])
@pytest.mark.parametrize(("length", "seed"), [(60.0, 0), (60.0, 1), (110.0, 2), (110.0, 3), (114.7, 6)])
def test_of_two_devices_that_dialled_in_vain_a_restart_is_advised_soon_after_the_path_is_back(
    length: float, seed: int, capabilities: frozenset[Capability]
) -> None:
    world, back_at = run(2, seed, length=length, capabilities=capabilities), CUT_AT + length
    assert world.poisoned_at_end == {("n0", "n1"), ("n1", "n0")}
    assert world.outcome.healed_in > 50.0, "nothing else helps"
    advised = [at - back_at for at, _ in world.advised]
    assert advised
    assert 0 < min(advised) <= ADVISED


@pytest.mark.parametrize("seed", range(2))
def test_a_restart_command_heals_two_devices(seed: int) -> None:
    world = run(2, seed, length=110.0, restarts=True)
    assert len(world.restarted) == len({node_id for _, node_id in world.restarted})
    assert 0 < world.outcome.healed_in <= ADVISED + 4.0


@pytest.mark.parametrize(("nodes", "length", "seed"), [(3, 60.0, 0), (3, 60.0, 1), (3, 110.0, 2), (6, 110.0, 3)])
def test_a_knock_brings_a_deaf_node_back(nodes: int, length: float, seed: int) -> None:
    world = run(nodes, seed, length=length)
    assert {pair[0] for pair in world.poisoned_at_end} == {"n0"}, "the others have each other, and dialled nobody"
    assert 0 < world.outcome.healed_in <= HEALED
    assert any(start.causes == (Cause.ASKED,) for _, start in world.starts())
    assert world.advised == []


@pytest.mark.parametrize("seed", range(4))
def test_whoever_has_one_direction_left_heals_as_nodes_take_turns(seed: int) -> None:
    """Others that dialled in vain too are asked in vain; each further attempt asks another, after waits that double."""
    chance = random.Random(seed)
    others = ["n1", "n2", "n3", "n4"]
    clean = chance.choice(others)
    poisoned = {(one, "n0") for one in others if one != clean and chance.random() < 0.6}
    world = run(5, seed, length=60.0, rest=130.0, poisoned=poisoned)
    assert poisoned <= world.poisoned_at_end
    assert (clean, "n0") not in world.poisoned_at_end
    assert 0 < world.outcome.healed_in <= 120.0


def test_a_partition_in_which_the_smaller_side_dialled_in_vain_is_healed_by_a_dial_of_the_main_side() -> None:
    """No node can probe for a path, and none is told that it is back: both sides take turns."""
    poisoned = [(one, other) for one in ("n2", "n3") for other in ("n0", "n1")]
    world = run(4, 0, length=135.0, what="partition", share=0.5, rest=70.0, poisoned=poisoned)
    assert world.poisoned_at_end.issuperset(poisoned)
    assert 0 < world.outcome.healed_in <= 67.0
    [*_, (_, last)] = [one for one in world.starts() if Cause.PARTITION in one[1].causes]
    assert last.node_id in ("n0", "n1")


def test_turns_at_growing_intervals_leave_a_node_that_has_not_dialled_in_vain_after_five_minutes() -> None:
    world = run(4, 1, length=300.0, what="partition", share=0.5, rest=100.0)
    assert {node_id for node_id, _ in world.poisoned_at_end} == {"n0", "n1", "n2"}
    assert 0 < world.outcome.healed_in <= 97.0
    assert {node_id for _, node_id in world.advised} == {"n2"}, "of the smaller side only"


def test_ten_nodes_that_are_all_deaf_do_not_knock_in_a_storm() -> None:
    world = run(10, 0, length=60.0, share=1.0)
    asked = [start for _, start in world.starts() if Cause.ASKED in start.causes]
    own = [start for _, start in world.starts() if start.causes != (Cause.ASKED,)]
    assert len(asked) <= len(own)
    assert len(own) <= 10 * 8
