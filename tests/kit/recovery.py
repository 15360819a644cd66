"""One round of rot and recovery: cut a node off for longer than its transport waits, restore it, and watch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.kit.process import Process
from tests.kit.swarm import Swarm

CUT = 75.0
"""Seconds: the transport gives its peers up after 30, dials them, and that dial fails after 30 more."""


@dataclass(frozen=True, slots=True)
class Round:
    """What happened after the link came back, in seconds since the command that brought it up; None: not at all."""

    noticed: float | None
    """The watcher saw the change."""
    decided: float | None
    """The service started a rejoin."""
    commanded: float | None
    """The agent took the command."""
    neighbour: float | None
    """The first neighbour was up."""
    delivered: float | None
    """The first message of another node arrived."""


async def cut_off(swarm: Swarm, seconds: float = CUT) -> None:
    """Take the link of the first host down for so long, and make sure that the others noticed."""
    await swarm.host.link_down()
    down_at = time.monotonic()
    await swarm.wait_for_loss(seconds)
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - down_at)))


async def restore(swarm: Swarm, watched_for: float) -> Round:
    """Bring the link back, and wait up to so many seconds for a neighbour and a message."""
    since = time.time()
    await swarm.host.link_up()
    deadline = time.monotonic() + watched_for
    neighbour = await _first(swarm.node, "up", since, deadline)
    delivered = await _first(swarm.node, "heard", since, deadline)
    if not swarm.controlled:
        return Round(None, None, None, neighbour, delivered)
    return Round(
        noticed=await _first(swarm.watcher, "change", since, deadline),
        decided=await _first(swarm.service, "rejoin started", since, deadline),
        commanded=await _first(swarm.node, "command", since, deadline),
        neighbour=neighbour,
        delivered=delivered,
    )


async def _first(process: Process, event: str, since: float, deadline: float) -> float | None:
    try:
        said = await process.wait_for(event, max(0.0, deadline - time.monotonic()), after=since)
    except TimeoutError:
        return None
    return float(said["ts"]) - since
