"""Effects that refuse an event, as the errors that its sender gets."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.effect import (
    AnswerTrigger,
    Effect,
    RefuseNode,
    RefuseReuse,
    RefuseState,
    RefuseTrigger,
    RefuseUnknown,
)
from gossipcontrol.server.errors import InvalidRequest, NotFound, Overloaded, Precondition


def reused() -> InvalidRequest:
    """The same id must name the same request, or its sender takes the answer to another one for its own."""
    return InvalidRequest([("request_id", "was used for another request a short while ago: make a new one")])


def trigger_answer(effects: Sequence[Effect]) -> AnswerTrigger:
    """The answer to a trigger.

    Raises Overloaded when the queue was full, InvalidRequest for a used id, NotFound for a node that nobody knows.
    """
    for effect in reversed(effects):
        if type(effect) is AnswerTrigger:
            return effect
        if isinstance(effect, RefuseTrigger):
            raise Overloaded(effect.reason, effect.retry_in)
        if isinstance(effect, RefuseReuse):
            raise reused()
        if isinstance(effect, RefuseUnknown):
            raise NotFound(f"{effect.what} is not known; with park_unknown (--park) the trigger waits for it")
    raise AssertionError("the core answers every trigger")


def check_cleared(effects: Sequence[Effect]) -> None:
    """Raise NotFound or Precondition when nothing was forgotten or cancelled."""
    for effect in effects:
        if isinstance(effect, RefuseUnknown):
            raise NotFound(f"{effect.what} is not known")
        if isinstance(effect, RefuseState):
            raise Precondition(effect.reason)


def check_admitted(effects: Sequence[Effect]) -> None:
    """Raise Overloaded when the node, or its store, was refused for a limit."""
    for effect in effects:
        if isinstance(effect, RefuseNode):
            raise Overloaded(effect.reason, effect.retry_in)
