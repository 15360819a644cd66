"""What is wrong with the outcome of a trouble, compared with its bounds and with nodes that have no agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from gossipcontrol.sim.field import FieldWorld
from gossipcontrol.sim.sidecars import SidecarsWorld

from tests.kit.sim.invariant import violations
from tests.kit.sim.trouble import Shape, Trouble


def breaches(trouble: Trouble, nodes: int, shapes: Iterable[Shape], seeds: int) -> list[str]:
    """What breaks a bound or an invariant, as sentences that begin with the rule's name."""
    found: list[str] = []
    bare, _ = _heard(trouble, Shape.BARE, nodes, seeds)
    for shape in shapes:
        heard, broken = _heard(trouble, shape, nodes, seeds)
        where = f"{trouble.name!r}, {shape.name}, {nodes} nodes"
        found += [f"{rule}: {where}, {text}" for rule, _, text in (one.partition(": ") for one in broken)]
        for node_id, count in heard.items():
            if count < bare[node_id]:
                found.append(f"worse: {where}, {node_id} hears {count}, bare {bare[node_id]}")
        if shape in trouble.more_than_bare and heard.total() <= bare.total():
            found.append(f"no better: {where}, all hear {heard.total()}, bare {bare.total()}")
    return found


def _heard(trouble: Trouble, shape: Shape, nodes: int, seeds: int) -> tuple[Counter[str], list[str]]:
    """Messages heard by node in all runs, and what is wrong with single ones."""
    heard, found = Counter[str](), list[str]()
    for seed in range(seeds):
        kind = SidecarsWorld if shape is Shape.SIDECARS else FieldWorld
        world = kind(trouble.scenario(shape, nodes), seed)
        world.run()
        heard.update(world.outcome.heard)
        if shape is not Shape.BARE:
            found += [f"{text} (seed {seed})" for text in _wrong(trouble, shape, world)]
    return heard, found


def _wrong(trouble: Trouble, shape: Shape, world: FieldWorld) -> Iterator[str]:
    outcome, bound = world.outcome, trouble.bound(shape)
    if bound.heals is not None and outcome.healed_in > bound.heals:
        yield f"heals: in pieces for {outcome.healed_in:g} s after its end, bound {bound.heals:g} s"
    if bound.away is not None and outcome.away > bound.away:
        yield f"away: a node in reach is asleep or offline for {outcome.away:g} s, bound {bound.away:g} s"
    yield from (f"contradicted: {text}" for text in outcome.contradicted[:3])
    yield from world.losses[:3]
    for taken in [one.taken for one in world.services.values()] if isinstance(world, SidecarsWorld) else [world.taken]:
        yield from violations(world.scenario.parameters, taken, world.frozen)[:3]
