"""The one way in which a test waits: look at a condition until it holds, or fail at a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE = 60.0
"""Seconds within which a condition must hold. It usually does in milliseconds; a busy machine stops for seconds."""
PAUSE = 0.005
"""Seconds between two looks at a condition."""


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]],
    what: str,
    within: float = DEADLINE,
    pause: float = PAUSE,
) -> None:
    """Wait until a condition holds; raises AssertionError at the deadline, which names the condition (``what``)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert loop.time() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(pause)
