"""Results of simulations for people and for programs, configurations side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gossipcontrol.cli import table
from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.output import say
from gossipcontrol.client.enumeration import DecisionKind, Outcome, Rule
from gossipcontrol.sim.result import Result, Silence

WORST = 10
"""Most nodes that are shown."""


def show_simulation(title: str, results: Sequence[Result], names: Mapping[str, str]) -> None:
    """A row per measure, then one per node that was unheard longest or rejoined most: how long, and how often."""
    runs = max(one.runs for one in results)
    say(f"{title}: {'1 run' if runs == 1 else f'{runs} runs, of which these are the means'}")
    measures = Columns("MEASURE", *(one.label for one in results))
    for name, cells in _measures(results):
        measures.add_row(name, *cells)
    table.show(measures, "nothing happened")
    say()
    nodes = Columns("NODE", *(one.label for one in results))
    for node_id in _worst(results):
        nodes.add_row(table.called(node_id, names.get(node_id, "")), *(_of_node(one, node_id) for one in results))
    table.show(nodes, "no node was commanded to rejoin")


def plain_result(result: Result, names: Mapping[str, str]) -> dict[str, Any]:
    """One configuration for programs; counts are those of one run, on average."""
    runs = max(1, result.runs)
    return {
        "label": result.label,
        "runs": result.runs,
        "rejoins_commanded": result.commanded.total() / runs,
        "rejoins_ended": [
            {"outcome": str(one), "count": result.ended[int(one)] / runs} for one in Outcome if int(one) in result.ended
        ],
        "decisions": [
            {"kind": str(DecisionKind(kind)), "rule": str(Rule(rule)), "count": count / runs}
            for (kind, rule), count in sorted(result.decisions.items())
        ],
        "refused": result.refused / runs,
        "reports": result.reports / runs,
        "messages": None if result.messages is None else result.messages / runs,
        "unheard_seconds": result.mean_silence,
        "broken": list(result.broken),
        "nodes": [_plain_node(result, node_id, names) for node_id in sorted({*result.commanded, *result.silences})],
    }


def _plain_node(result: Result, node_id: str, names: Mapping[str, str]) -> dict[str, Any]:
    silence = result.silences.get(node_id)
    return {
        "node_id": node_id,
        "name": names.get(node_id, ""),
        "rejoins_commanded": result.commanded[node_id] / max(1, result.runs),
        "unheard_seconds": silence.mean if silence else None,
        "longest_unheard_seconds": silence.longest if silence else None,
    }


def _measures(results: Sequence[Result]) -> Iterator[tuple[str, list[str]]]:
    yield "rejoins commanded", [_mean(one, one.commanded.total()) for one in results]
    for outcome in Outcome:
        if any(int(outcome) in one.ended for one in results):
            yield f"rejoins {outcome}", [_mean(one, one.ended[int(outcome)]) for one in results]
    for kind, rule in sorted({pair for one in results for pair in one.decisions}):
        words = f"{DecisionKind(kind)}: {str(Rule(rule)).replace('-', ' ')}"
        yield f"triggers {words}", [_mean(one, one.decisions[kind, rule]) for one in results]
    if any(one.refused for one in results):
        yield "triggers refused", [_mean(one, one.refused) for one in results]
    if any(one.messages is not None for one in results):
        yield "unheard, mean of nodes", [_seconds(one.mean_silence) for one in results]
        longest = [max((silence.longest for silence in one.silences.values()), default=0.0) for one in results]
        yield "unheard, longest", [_seconds(one) for one in longest]
        yield "messages received", [_mean(one, one.messages or 0) for one in results]
    if any(one.reports for one in results):
        yield "reports to the service", [_mean(one, one.reports) for one in results]


def _worst(results: Sequence[Result]) -> list[str]:
    def weight(node_id: str) -> tuple[float, int]:
        unheard = max(one.silences.get(node_id, Silence()).mean for one in results)
        return unheard, max(one.commanded[node_id] for one in results)

    known = sorted({node_id for one in results for node_id in (*one.silences, *one.commanded)})
    return [one for one in sorted(known, key=weight, reverse=True) if any(weight(one))][:WORST]


def _of_node(result: Result, node_id: str) -> str:
    """Such as ``30.6 s, 2 rejoins``."""
    count = result.commanded[node_id]
    rejoins = f"{_mean(result, count)} rejoin{'' if count == result.runs else 's'}"
    silence = result.silences.get(node_id)
    return rejoins if silence is None else f"{_seconds(silence.mean)}, {rejoins}"


def _mean(result: Result, count: int) -> str:
    mean = count / max(1, result.runs)
    return f"{mean:.0f}" if mean == int(mean) or mean >= 100 else f"{mean:.1f}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"
