"""A rejoin is proved only by what was heard after it started, however long the network holds the frames that say so.

The core, the log of a stream's commands, and a wire that keeps the order of frames but holds them for a while.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial

import pytest
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.decision import Outcome
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NodeAttached,
    RejoinFinished,
    RejoinRequested,
    TimePassed,
)
from gossipcontrol.server.rpc.command_log import CommandLog

INTERVAL = 2.0
NODE, STORE, PEER = "n", "a", "p"
STARTED = 1010.0
END = 1060.0
SEEDS = range(40)


class HeldWire:
    """One node's stream, whose frames to the service are held from some instant on; its agent reports what it heard."""

    def __init__(self, seed: int, *, says: bool, is_held: bool, heard_from: float = END) -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.core = Core(id_prefix="held")
        self.commands = CommandLog(lambda: self.now)
        self._says = says
        """Whether the agent says which commands it had received; those of earlier versions do not."""
        self._held_from = STARTED - self.chance.uniform(0.0, 3.0)
        self._held_until = self._held_from + self.chance.uniform(1.0, 9.0) * is_held
        self._heard_until, self._heard_from = STARTED - self.chance.uniform(0.0, 1.0), heard_from
        self._received, self._received_at = 0, 1000.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._arrives_at = 0.0
        self._handle(NodeAttached(NODE, "s", (STORE,)))
        self._at(1000.0, self._report)
        self._at(STARTED, lambda: self._handle(RejoinRequested(NODE)))

    def run(self) -> list[Outcome]:
        """The outcomes of all rejoins that started since the trigger."""
        while self._calls and self._calls[0][0] < END:
            self.now, _, call = heapq.heappop(self._calls)
            call()
            while (due := self.core.next_deadline()) is not None and due <= self.now:
                self._handle(TimePassed())
        rejoins = self.core.catalog.rejoins()
        return [one.outcome for one in rejoins if one.started_at is not None and one.started_at >= STARTED]

    def _at(self, at: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (at, next(self._numbers), call))

    def _handle(self, event: Event) -> None:
        for effect in self.core.handle(event, self.now).effects:
            if isinstance(effect, StartRejoin):
                self.commands.add(STORE, (effect.rejoin_id, effect.attempt))
                self._at(self.now + self.chance.uniform(0.0, 0.5), partial(self._carry_out, effect))

    def _carry_out(self, start: StartRejoin) -> None:
        """The agent has received a command, and answers it."""
        self._received, self._received_at = self._received + 1, self.now

        def finished() -> None:
            self.commands.record_frame(INTERVAL)
            self.commands.record_answer((start.rejoin_id, start.attempt))
            self._handle(RejoinFinished(start.rejoin_id, start.attempt, ok=True))

        self._send(finished)

    def _report(self) -> None:
        """The agent reports the last message that it heard; ages become instants when the frame arrives."""
        heard_at = self.now - 0.1 if self.now >= self._heard_from else min(self.now - 0.1, self._heard_until)
        age, received, received_age = self.now - heard_at, self._received, self.now - self._received_at

        def arrived() -> None:
            self.commands.record_frame(INTERVAL)
            delay = self.commands.delay(STORE, received, received_age)
            if not self._says:
                delay = self.commands.assumed_delay(STORE)
            self._handle(LivenessReported(NODE, STORE, {PEER: self.now - age}, delay=delay))

        self._send(arrived)
        self._at(self.now + INTERVAL, self._report)

    def _send(self, arrived: Callable[[], None]) -> None:
        """A frame leaves; none overtakes another."""
        held = max(0.0, self._held_until - self.now) if self.now >= self._held_from else 0.0
        self._arrives_at = max(self._arrives_at, self.now + held + self.chance.uniform(0.001, 0.05))
        self._at(self._arrives_at, arrived)


@pytest.mark.parametrize("says", [True, False], ids=["agents that say what they received", "older agents"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_heard_before_the_start_proves_nothing_however_late_it_arrives(seed: int, says: bool) -> None:
    """A report written 2 s before the start, and held for 3 s, ended the rejoin as verified: the ladder stopped."""
    outcomes = HeldWire(seed, says=says, is_held=True).run()
    assert outcomes
    assert Outcome.VERIFIED not in outcomes


@pytest.mark.parametrize("says", [True, False], ids=["agents that say what they received", "older agents"])
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_what_was_heard_after_the_start_proves(seed: int, says: bool) -> None:
    outcomes = HeldWire(seed, says=says, is_held=False, heard_from=STARTED + 1.0).run()
    assert Outcome.VERIFIED in outcomes
