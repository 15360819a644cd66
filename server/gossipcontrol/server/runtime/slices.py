"""Long work in the event loop, in slices between which other work goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

SLICE = 0.005
"""Seconds after which work lets others go first."""

T = TypeVar("T")


async def in_slices(work: Generator[None, None, T]) -> T:
    """The result of work that pauses between its bits."""
    until = time.perf_counter() + SLICE
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE
