"""What a core took and what it wanted, in order: enough to run it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gossipcontrol.server.core.deciding.engine import Engine
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.event import Event, LivenessEvent, TimePassed
from gossipcontrol.server.core.parameter import Parameters


@dataclass(frozen=True, slots=True)
class Taken:
    """One event, when it was handled (service time), and its effects."""

    at: float
    event: Event
    effects: tuple[Effect, ...]


def take(engine: Engine, event: Event, now: float) -> list[Effect]:
    """Let an event happen to an engine and to its liveness, as the service does."""
    effects = engine.handle(event, now)
    if isinstance(event, LivenessEvent):
        engine.liveness.handle(event, now)
    return effects


def restore(parameters: Parameters, taken: Sequence[Taken]) -> Engine:
    """A new core that has handled the same events: what a crash leaves is the log."""
    engine = Engine(parameters, id_prefix="sim")
    for one in taken:
        take(engine, one.event, one.at)
    return engine


def finish(parameters: Parameters, taken: Sequence[Taken], rest: float) -> list[Taken]:
    """The run, with all deadlines of ``rest`` further seconds served."""
    engine, until = restore(parameters, taken), (taken[-1].at if taken else 0.0) + rest
    return [*taken, *_serve(engine, until)]


def _serve(engine: Engine, until: float) -> Iterator[Taken]:
    while (deadline := engine.next_deadline()) is not None and deadline <= until:
        yield Taken(deadline, TimePassed(), tuple(take(engine, TimePassed(), deadline)))


def rerun(parameters: Parameters, events: Sequence[Taken], rest: float) -> list[Taken]:
    """Handle these events in a new core, serving deadlines between them and for ``rest`` seconds after the last."""
    engine, taken = Engine(parameters, id_prefix="sim"), list[Taken]()
    for one in events:
        if not isinstance(one.event, TimePassed):
            taken.extend(_serve(engine, one.at))
            taken.append(Taken(one.at, one.event, tuple(take(engine, one.event, one.at))))
    taken.extend(_serve(engine, (events[-1].at if events else 0.0) + rest))
    return taken
