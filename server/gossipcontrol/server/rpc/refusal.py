"""Effects that refuse an event, as the errors that its sender gets."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.effect import AnswerTrigger, Effect, RefuseNode, RefuseReuse, RefuseTrigger
from gossipcontrol.server.errors import InvalidRequest, Overloaded

NODE_RETRY = 60.0
"""Seconds after which a node that was refused for a limit may try again."""


def reused() -> InvalidRequest:
    """The same id must name the same request, or its sender takes the answer to another one for its own."""
    return InvalidRequest([("request_id", "was used for another request a short while ago: make a new one")])


def trigger_answer(effects: Sequence[Effect]) -> AnswerTrigger:
    """The answer to a trigger; raises Overloaded when the queue was full, InvalidRequest for a used id."""
    for effect in reversed(effects):
        if type(effect) is AnswerTrigger:
            return effect
        if isinstance(effect, RefuseTrigger):
            raise Overloaded("the queue of rejoins is full", effect.retry_in)
        if isinstance(effect, RefuseReuse):
            raise reused()
    raise AssertionError("the core answers every trigger")


def check_admitted(effects: Sequence[Effect]) -> None:
    """Raise Overloaded when the node, or its store, was refused for a limit."""
    for effect in effects:
        if isinstance(effect, RefuseNode):
            raise Overloaded(effect.reason, NODE_RETRY)
