"""One round of an outage and the recovery from it: cut a node off until its overlay rots, restore its link, measure."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.kit.process import Process
from tests.kit.swarm import Swarm

CUT = 75.0
"""Seconds: the transport drops its peers after 30, dials them, and the dial fails after 30 more."""


@dataclass(frozen=True, slots=True)
class Round:
    """When each step happened, in seconds after the link was brought up; None: it did not happen."""

    noticed: float | None
    """The watcher saw the change."""
    decided: float | None
    """The service started a rejoin."""
    commanded: float | None
    """The agent received the command."""
    neighbour: float | None
    """The first neighbour was up."""
    delivered: float | None
    """The first message of another node arrived."""


async def cut_off(swarm: Swarm, seconds: float = CUT) -> None:
    """Take the link of the first host down for so long; raises TimeoutError if its peers did not notice."""
    await swarm.host.link_down()
    down_at = time.monotonic()
    await swarm.wait_for_loss(seconds)
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - down_at)))  # the length is part of the stimulus


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
        line = await process.wait_for(event, max(0.0, deadline - time.monotonic()), after=since)
    except TimeoutError:
        return None
    return float(line["ts"]) - since
