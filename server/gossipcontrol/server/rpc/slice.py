"""Long handlers yield: others are served between the parts of their work."""

from __future__ import annotations

import asyncio
import time

SLICE = 0.005
"""Seconds of work after which a handler lets others have their turn."""


class Slice:
    """The work of one call; ``rest`` is called where it may be interrupted."""

    def __init__(self) -> None:
        self._began_at = time.perf_counter()

    async def rest(self) -> None:
        """Let others have their turn if this one took its slice."""
        if time.perf_counter() - self._began_at >= SLICE:
            await asyncio.sleep(0)
            self._began_at = time.perf_counter()
