"""One round of an outage and the recovery from it: a node is cut off, or stopped, until its overlay rots; measure."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from tests.kit.process import Process
from tests.kit.swarm import Swarm

CUT = 75.0
"""Seconds: the transport drops its peers after 30, dials them, and the dial fails after 30 more."""


@dataclass(frozen=True, slots=True)
class Round:
    """When each step happened, in seconds after the link was brought up; None: it did not happen."""

    noticed: float | None
    """The watcher saw the change; of a process that was stopped, the node saw that it had been."""
    decided: float | None
    """The service started a rejoin."""
    commanded: float | None
    """The agent received the command."""
    neighbour: float | None
    """The first neighbour was up."""
    delivered: float | None
    """The first message of another node arrived; of a process that was stopped, all had heard each other."""
    listed: float | None = None
    """Of a process that was stopped: every other node had it as a neighbour again."""


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


async def freeze(swarm: Swarm, seconds: float) -> None:
    """Stop the first node's process (SIGSTOP) for so long; raises TimeoutError if its peers did not notice."""
    swarm.node.freeze()
    stopped_at = time.monotonic()
    await swarm.wait_for_loss(seconds)
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - stopped_at)))  # the length is part of the stimulus


async def thaw(swarm: Swarm, watched_for: float) -> Round:
    """Let the first node go on, and wait up to so many seconds until it and every other node hear each other.

    What arrived before its peers gave it up waits in its socket, and is printed at once: what it hears counts only from
    when another node has it as a neighbour again.
    """
    since = time.time()
    swarm.node.thaw()
    deadline = time.monotonic() + watched_for
    first, others = swarm.ids[0], swarm.others
    ups = await asyncio.gather(*(_first(one, "up", since, deadline, peer=first) for one in others))
    known = [one for one in ups if one is not None]
    neighbour, listed = min(known, default=None), max(known) if len(known) == len(ups) else None
    there = await asyncio.gather(*(_first(one, "heard", since, deadline, peer=first) for one in others))
    listed_at = since + (watched_for if neighbour is None else neighbour)
    here = [await _first(swarm.node, "heard", since, deadline, after=listed_at, peer=one) for one in swarm.ids[1:]]
    heard = [one for one in (*there, *here) if one is not None]
    delivered = max(heard) if len(heard) == len(there) + len(here) else None
    if not swarm.controlled:
        return Round(None, None, None, neighbour, delivered, listed)
    return Round(
        noticed=await _first(swarm.node, "network", since, 0.0),
        decided=await _first(swarm.service, "rejoin started", since, 0.0),
        commanded=await _first(swarm.node, "command", since, 0.0),
        neighbour=neighbour,
        delivered=delivered,
        listed=listed,
    )


async def _first(
    process: Process, event: str, since: float, deadline: float, *, after: float = 0.0, peer: str = ""
) -> float | None:
    """Seconds from ``since`` to a line that comes after it, and not before ``after``; None: it did not come in time."""
    fields: dict[str, Any] = {"peer": peer} if peer else {}
    try:
        left = max(0.0, deadline - time.monotonic())
        line = await process.wait_for(event, left, after=max(since, after), **fields)
    except TimeoutError:
        return None
    return float(line["ts"]) - since
