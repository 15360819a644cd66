"""A core with its log, and what it took and wanted, in order: enough to run it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.event import Event, ServiceStarted, TimePassed
from gossipcontrol.server.core.finding import CoreFinding
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.turn import Fact


@dataclass(frozen=True, slots=True)
class Taken:
    """One event, when it was handled (service time), its effects and what was found."""

    at: float
    event: Event
    effects: tuple[Effect, ...]
    findings: tuple[CoreFinding, ...] = ()


class Recorder:
    """Drives a core, keeps its log, and restores it from that after a crash, as the service does."""

    def __init__(
        self, parameters: Parameters, id_prefix: str = "sim", liveness: LivenessParameters | None = None
    ) -> None:
        self.taken: list[Taken] = []
        self._parameters = CoreParameters(deciding=parameters, liveness=liveness or LivenessParameters())
        self._id_prefix = id_prefix
        self._log: list[Fact] = []
        self.core = self._new_core()

    def take(self, event: Event, now: float) -> Taken:
        """Let an event happen."""
        turn = self.core.handle(event, now)
        self._log += [fact for fact in turn.facts if isinstance(fact, Fact)]
        self.taken.append(Taken(now, event, tuple(turn.effects), tuple(turn.findings)))
        return self.taken[-1]

    def restart(self) -> bool:
        """Crash and come back: all is lost but the log. Returns whether deciding is as it was."""
        before, self.core = self.core, self._new_core()
        for fact in self._log:
            self.core.replay(fact)
        is_same = list(before.catalog.rejoins()) == list(self.core.catalog.rejoins())
        return is_same and replace(before.counts(), peers=0) == replace(self.core.counts(), peers=0)

    def serve(self, until: float) -> None:
        """Serve the deadlines of deciding up to an instant; liveness is not asked, for no report comes any more."""
        while (deadline := self.core.deciding.next_deadline()) is not None and deadline <= until:
            self.take(TimePassed(), deadline)

    def _new_core(self) -> Core:
        return Core(self._parameters, id_prefix=self._id_prefix)


def rerun(parameters: Parameters, events: Sequence[Taken], rest: float) -> list[Taken]:
    """Handle these events in a new core, serving deadlines between them and for ``rest`` seconds after the last."""
    recorder = Recorder(parameters)
    for one in events:
        if isinstance(one.event, TimePassed):
            continue
        recorder.serve(one.at)
        if isinstance(one.event, ServiceStarted):
            recorder.restart()
        recorder.take(one.event, one.at)
    recorder.serve((events[-1].at if events else 0.0) + rest)
    return recorder.taken
