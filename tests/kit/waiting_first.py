"""The order of the tests under pytest-xdist: those that wait for real timeouts start first, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def waiting_first(tests: Sequence[T], seconds: Callable[[T], float], workers: int) -> list[T]:
    """Order `tests` for `--dist worksteal`, where `seconds` says how long each waits (0: it does not).

    Worksteal gives each worker a block of the list, in order, and moves the ends of long blocks later. So the waiting
    tests go to the heads of the blocks, longest first. One block in three, or part of three, gets none: its
    worker uses the processors meanwhile.
    """
    if workers < 2:
        return list(tests)
    heads: list[list[T]] = [[] for _ in range(workers)]
    waits = [0.0] * max(1, workers * 2 // 3)
    for test in sorted((test for test in tests if seconds(test)), key=seconds, reverse=True):
        shortest = waits.index(min(waits))
        heads[shortest].append(test)
        waits[shortest] += seconds(test)
    others = [test for test in tests if not seconds(test)]
    ordered: list[T] = []
    for position, head in enumerate(heads):
        block = (len(tests) - len(ordered)) // (workers - position)
        fill = max(0, block - len(head)) if position < workers - 1 else len(others)
        ordered += head + others[:fill]
        del others[:fill]
    return ordered
