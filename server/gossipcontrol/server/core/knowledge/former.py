"""Snapshots that were written before intentions had weights: read, and brought to the present form."""

from __future__ import annotations

from array import array
from typing import Any

from gossipcontrol.server.core.knowledge.chain import POSITION_MASK, WALK_LIMIT, Chain
from gossipcontrol.server.core.knowledge.column import numbers, unpack_names, unpack_vectors
from gossipcontrol.server.core.knowledge.graph import Graph
from gossipcontrol.server.core.knowledge.level import LEVEL_SPACING
from gossipcontrol.server.core.knowledge.vector import join

_NUMBERS = ("parent", "offset", "first", "named_from", "length", "order", "forgotten_acks")


def restore_former_chain(chain: Chain, fields: dict[str, Any], columns: list[bytes], lanes: int) -> None:
    """Fill a chain from its columns, in which checkpoints are whole vectors; ``weigh`` does the rest."""
    for name in _NUMBERS:
        setattr(chain, name, fields[name])
    *numbered, fan_ins, tip, checks, row, lengths = columns
    chains, counts, acks, check_at, check_ends, orders, mark_at, mark_times = numbered
    chain.dependency_chains, chain.dependency_counts = numbers("H", chains), numbers("I", counts)
    chain.acks, chain.mark_at = numbers("I", acks), numbers("I", mark_at)
    chain.mark_times = array("Q", numbers("I", mark_times))
    chain.cut_at, chain.cut_ends = numbers("I", check_at), numbers("I", check_ends)
    chain.fan_ins, chain.tip = bytearray(fan_ins), int.from_bytes(tip, "little")
    chain.weights = bytearray(len(fan_ins))
    chain.hashes = unpack_names(row, lengths)
    levels = [order // LEVEL_SPACING for order in numbers("Q", orders)]
    chain.replace_checks(zip(numbers("I", check_at), unpack_vectors(checks, lanes), levels, strict=True))


def weigh(graph: Graph) -> None:
    """Give every intention its weight, ancestors first, and a checkpoint where that would exceed the limit."""
    weighed = [chain.first - 1 for chain in graph.chains]
    extra: dict[int, int] = {}
    for start in graph.chains:
        todo = [start.number << 32 | start.length]
        while todo:
            chain, last = graph.chains[todo[-1] >> 32], todo[-1] & POSITION_MASK
            count = weighed[chain.number] + 1
            if count > last:
                todo.pop()
                continue
            dependencies = chain.dependencies_of(count)
            if below := [one for one in dependencies if weighed[one >> 32] < (one & POSITION_MASK)]:
                todo += below
                continue
            position = chain.number << 32 | count
            weight = 1 + (chain.weight(count - 1) if count > 1 else 0)
            weight += sum(graph.chains[one >> 32].weight(one & POSITION_MASK) for one in dependencies)
            if chain.has_check(count):
                weight = 1
            elif weight > WALK_LIMIT:
                weight, extra[position] = 1, _vector(graph, position, extra)
            chain.weights[count - chain.first] = weight
            weighed[chain.number] = count
    for chain in graph.chains:
        found = [(count, vector, chain.order // LEVEL_SPACING) for count, vector in _of_chain(chain, extra)]
        chain.replace_checks(sorted([*chain.checks(), *found]))


def _of_chain(chain: Chain, vectors: dict[int, int]) -> list[tuple[int, int]]:
    return [(position & POSITION_MASK, one) for position, one in vectors.items() if position >> 32 == chain.number]


def _vector(graph: Graph, position: int, extra: dict[int, int]) -> int:
    """The vector of a position, of whose ancestors these are known as well."""
    vector, own, passed, todo = 0, 0, set[int](), [position]
    while todo:
        position = todo.pop()
        chain, count = graph.chains[position >> 32], position & POSITION_MASK
        if position in passed:
            continue
        passed.add(position)
        kept = extra.get(position) or graph.kept_vector(position)
        own = join(own, count << chain.shift, graph.guard)
        if kept is not None:
            vector = join(vector, kept, graph.guard)
        elif count >= chain.first:
            todo += [*([position - 1] if count > chain.first else ()), *chain.dependencies_of(count)]
    return join(vector, own, graph.guard)
