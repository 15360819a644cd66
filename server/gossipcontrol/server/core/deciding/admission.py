"""The global limiter on starts, and the fair queue of what it delays."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gossipcontrol.server.core.codec import LaterList, Plain
from gossipcontrol.server.core.deciding.capture import Capture, Read, about_to_change
from gossipcontrol.server.core.deciding.rejoin import Rejoin
from gossipcontrol.server.core.decision import Cause, Outcome
from gossipcontrol.server.core.event import NEVER


class Gcra:
    """Generic cell rate algorithm (ITU-T I.371): at most ``burst + rate * T`` takes in any interval of T seconds."""

    def __init__(self, rate: float, burst: int) -> None:
        self.interval = 1.0 / rate
        self._tolerance = (burst - 1) * self.interval
        self._arrival_at = NEVER

    def copy(self) -> Gcra:
        """One that goes on from here on its own."""
        copied = Gcra.__new__(Gcra)
        copied.interval, copied._tolerance, copied._arrival_at = self.interval, self._tolerance, self._arrival_at
        return copied

    def next_at(self) -> float:
        """The earliest instant at which a take succeeds."""
        return self._arrival_at - self._tolerance

    def after(self, count: int, now: float) -> float:
        """The earliest instant at which a take succeeds after so many others, each as early as it may."""
        return max(now, max(now, self._arrival_at) + count * self.interval - self._tolerance)

    def take(self, now: float) -> bool:
        """Take one if it is allowed now."""
        if now < self._arrival_at - self._tolerance:
            return False
        self._arrival_at = max(now, self._arrival_at) + self.interval
        return True

    def clamp(self, now: float) -> None:
        """Owe no more than a full burst: what another rate had booked is not owed under this one."""
        self._arrival_at = min(self._arrival_at, now + self._tolerance + self.interval)

    def save(self) -> Plain:
        """The theoretical arrival time."""
        return self._arrival_at

    def load(self, plain: Plain) -> None:
        """Take it over."""
        self._arrival_at = float(plain)


Entry = tuple[int, int, Rejoin]
"""Urgency, number of its push, and what waits."""


@dataclass(slots=True, eq=False)
class NodeQueue:
    """What waits of one node, as a heap."""

    node_id: str
    entries: list[Entry] = field(default_factory=list[Entry])


ADMISSION_READS: dict[type[Any], Read] = {NodeQueue: lambda queue: tuple(queue.entries)}
"""How a snapshot reads what waits."""


class FairQueue:
    """Round robin over nodes; within a node by urgency, then by arrival. Removed entries are passed over when met."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeQueue] = {}
        self._order: deque[NodeQueue] = deque()
        """Whose turn is next. An OrderedDict would be copied by looking up each of its keys."""
        self._pushes = 0
        self.length = 0
        """Rejoins that wait."""

    def push(self, rejoin: Rejoin) -> None:
        """Queue a rejoin, or move one that waits already to the place its urgency now gives it."""
        if not rejoin.queued:
            rejoin.queued = True
            self.length += 1
        self._pushes += 1
        rejoin.place = self._pushes
        queue = self._nodes.get(rejoin.node_id)
        if queue is None:
            queue = self._nodes[rejoin.node_id] = NodeQueue(rejoin.node_id)
            self._order.append(queue)
        about_to_change(queue)
        heapq.heappush(queue.entries, (rejoin.urgency, self._pushes, rejoin))

    def remove(self, rejoin: Rejoin) -> None:
        """Take a rejoin out, wherever it is."""
        if rejoin.queued:
            rejoin.queued = False
            self.length -= 1

    def pass_over(self, most: int) -> int:
        """Drop removed entries before the next rejoin, so many at most; returns how many.

        Unless all were dropped that may be, ``pop`` then drops none of them.
        """
        left = most
        while left and self._order and not _waits((queue := self._order[0]).entries[0]):
            about_to_change(queue)
            entries = queue.entries
            while left and entries and not _waits(entries[0]):
                heapq.heappop(entries)
                left -= 1
            if not entries:
                self._order.popleft()
                del self._nodes[queue.node_id]
        return most - left

    def pop(self) -> Rejoin:
        """The next rejoin; raises IndexError when there is none."""
        while self._order:
            queue = self._order.popleft()
            about_to_change(queue)
            rejoin = self._pop_entry(queue.entries)
            if queue.entries:
                self._order.append(queue)
            else:
                del self._nodes[queue.node_id]
            if rejoin is not None:
                self.remove(rejoin)
                return rejoin
        raise IndexError("the queue is empty")

    def capture(self, capture: Capture) -> Plain:
        """Every node in its turn with its entries, passed-over ones too, for they hold a place in the round."""
        queues = tuple(self._order)
        capture.expect(queues)
        nodes = LaterList(lambda: queues, lambda queue: _save_entries(queue.node_id, capture.of(queue)), is_heavy=True)
        return {"pushes": self._pushes, "nodes": nodes}

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over saved entries; a sorted list is a heap."""
        self._pushes = plain["pushes"]
        self._nodes.clear()
        for node_id, saved in plain["nodes"]:
            entries = [(urgency, place, get(rejoin_id) or _gone(rejoin_id)) for urgency, place, rejoin_id in saved]
            self._nodes[node_id] = NodeQueue(node_id, entries)
        self._order = deque(self._nodes.values())
        queued = {rejoin.rejoin_id for queue in self._nodes.values() for *_, rejoin in queue.entries if rejoin.queued}
        self.length = len(queued)

    @staticmethod
    def _pop_entry(entries: list[Entry]) -> Rejoin | None:
        while entries:
            entry = heapq.heappop(entries)
            if _waits(entry):
                return entry[2]
        return None


def _waits(entry: Entry) -> bool:
    """Whether its rejoin was neither taken out nor moved to another place."""
    _, place, rejoin = entry
    return rejoin.queued and rejoin.place == place


def _order(entry: Entry) -> tuple[int, int]:
    return entry[:2]


def _save_entries(node_id: str, entries: Sequence[Entry]) -> Plain:
    return [node_id, [[urgency, place, rejoin.rejoin_id] for urgency, place, rejoin in sorted(entries, key=_order)]]


def _gone(rejoin_id: str) -> Rejoin:
    """Stands for a rejoin that ended and is forgotten, but has an entry still."""
    return Rejoin(0, rejoin_id, "", "", Cause.MANUAL, 0.0, None, outcome=Outcome.SKIPPED)


class Lane(Protocol):
    """What a judgement asks of admission."""

    def take(self, now: float) -> bool:
        """Whether a rejoin may start at once."""
        ...

    def estimate(self, now: float) -> float:
        """When one that queues now would start."""
        ...


class DryLane:
    """Admission as it would go on, without any of it happening."""

    def __init__(self, limiter: Gcra, queued: int, room: int) -> None:
        self._limiter = limiter
        self._queued = queued
        self._room = room

    def take(self, now: float) -> bool:
        """Whether a rejoin would start at once."""
        if self._queued or not self._room or not self._limiter.take(now):
            return False
        self._room -= 1
        return True

    def estimate(self, now: float) -> float:
        """When a rejoin that queues now would start; it counts as queued from here on."""
        self._queued += 1
        return self._limiter.after(self._queued - 1, now)


class Admission:
    """Says when a due rejoin may start: at once, or in its turn when the limiter allows."""

    def __init__(self, rate: float, burst: int, at_once: int, passed: int) -> None:
        self._limiter = Gcra(rate, burst)
        self._queue = FairQueue()
        self._at_once = self._room = at_once
        """Most that start at once with one event, and how many more may with this one."""
        self._passed = self._to_pass = passed
        """Most removed entries that are dropped with one event, and how many more may be with this one."""

    def __len__(self) -> int:
        return self._queue.length

    def dry(self) -> DryLane:
        """A lane to try things out on."""
        return DryLane(self._limiter.copy(), self._queue.length, self._at_once)

    def begin(self) -> None:
        """An event begins."""
        self._room, self._to_pass = self._at_once, self._passed

    def take(self, now: float) -> bool:
        """Whether a rejoin may start at once: nobody waits, not too many did with this event, the limiter allows it."""
        if self._queue.length or not self._room or not self._limiter.take(now):
            return False
        self._room -= 1
        return True

    def push(self, rejoin: Rejoin) -> None:
        """Queue a rejoin, or move it after its urgency rose."""
        self._queue.push(rejoin)

    def remove(self, rejoin: Rejoin) -> None:
        """Take a rejoin out of the queue."""
        self._queue.remove(rejoin)

    def pop(self, now: float) -> Rejoin | None:
        """The next rejoin that may start now, if any; one behind very many that were removed may need another event."""
        if not self._queue.length or now < self._limiter.next_at():
            return None
        self._to_pass -= self._queue.pass_over(self._to_pass)
        if not self._to_pass:
            return None
        self._limiter.take(now)
        return self._queue.pop()

    def next_at(self) -> float | None:
        """When the next queued rejoin may start; None when nobody waits."""
        return self._limiter.next_at() if self._queue.length else None

    def clamp(self, now: float) -> None:
        """A run begins, perhaps under other parameters: owe no more than they allow."""
        self._limiter.clamp(now)

    def estimate(self, now: float) -> float:
        """When a rejoin that joins the queue's end now would start, were all nodes' queues equally long."""
        return self._limiter.after(self._queue.length, now)

    def capture(self, capture: Capture) -> Plain:
        """Limiter and queue."""
        return {"limiter": self._limiter.save(), "queue": self._queue.capture(capture)}

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take them over."""
        self._limiter.load(plain["limiter"])
        self._queue.load(plain["queue"], get)
