"""What one event leads to, collected while the parts of deciding handle it."""

from __future__ import annotations

from gossipcontrol.server.core.effect import AnswerTrigger, Effect, Refusal
from gossipcontrol.server.core.event import DecidingEvent


class Output:
    """One object, shared by all parts of deciding: the engine begins it for every event, and reads it at the end."""

    __slots__ = ("changed_nothing", "effects", "facts")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what the event before led to."""
        self.effects: list[Effect] = []
        self.facts: list[DecidingEvent] = []
        self.changed_nothing = False
        """Whether the event was refused, or had been answered before."""

    def emit(self, effect: Effect) -> None:
        """Want something done or known."""
        self.effects.append(effect)

    def refuse(self, answer: Refusal | AnswerTrigger) -> None:
        """Answer an event that changes nothing: refuse it, or repeat the answer that it got before."""
        self.effects.append(answer)
        self.changed_nothing = True

    def log(self, fact: DecidingEvent) -> None:
        """Have the log keep a fact of the event."""
        self.facts.append(fact)
