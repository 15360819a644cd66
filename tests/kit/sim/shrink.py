"""Shrinks a failing run: drops events as long as the run still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.sim.record import Taken, rerun

TRIES = 600
"""Most reruns; the result need not be minimal."""

Check = Callable[[Parameters, Sequence[Taken]], list[str]]


def shrink(parameters: Parameters, taken: Sequence[Taken], check: Check, rest: float) -> list[Taken]:
    """A run of few of the events that still breaks the same invariant; the whole run if a rerun does not break it."""

    def run(events: Sequence[Taken]) -> list[Taken]:
        return rerun(parameters, events, rest)

    kinds = {text.partition(":")[0] for text in check(parameters, taken)}

    def fails(events: Sequence[Taken]) -> bool:
        return any(text.partition(":")[0] in kinds for text in check(parameters, run(events)))

    events = [one for one in taken if not _is_time(one)]
    if not fails(events):
        return list(taken)
    size, tries = max(1, len(events) // 2), 0
    while tries < TRIES:
        kept, dropped = events, False
        for first in range(0, len(events), size):
            part = set(range(first, first + size))
            fewer = [one for index, one in enumerate(events) if index not in part]
            tries += 1
            if fails(fewer):
                kept, dropped = fewer, True
                break
        events = kept
        if not dropped:
            if size == 1:
                break
            size //= 2
        size = max(1, min(size, len(events) // 2 or 1))
    return run(events)


def _is_time(one: Taken) -> bool:
    return type(one.event).__name__ == "TimePassed"


def describe(taken: Sequence[Taken]) -> str:
    """A run as text, one line per event."""
    return "\n".join(f"{one.at:12.3f} {one.event} -> {list(one.effects)}" for one in taken)
