"""What waits to be sent to the service, whichever stream will send it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from gossipcontrol.agent.event import NeighborEvent

EVENTS = 1000
"""Most neighbour events that wait; the oldest are dropped first, and the next report makes up for them."""


class SendQueue:
    """``wanted`` is set whenever something is added."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.neighbor_events: deque[NeighborEvent] = deque(maxlen=EVENTS)
        self.due: set[str] = set()
        """Stores whose report must not wait for its interval."""
        self.registration = False
        """Whether the node must be registered again."""

    def add_neighbor_event(self, event: NeighborEvent) -> None:
        """Report a neighbour that came or went."""
        self.neighbor_events.append(event)
        self.wanted.set()

    def add_reports(self, store_ids: Iterable[str]) -> None:
        """Report these stores now."""
        self.due.update(store_ids)
        self.wanted.set()

    def add_registration(self) -> None:
        """Register the node again."""
        self.registration = True
        self.wanted.set()

    def registration_due(self) -> bool:
        """Whether the node must be registered again; then it counts as done."""
        due, self.registration = self.registration, False
        return due
