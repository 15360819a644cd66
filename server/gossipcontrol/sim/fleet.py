"""Runs a scenario under a configuration, and measures what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gossipcontrol.server.core.event import Event
from gossipcontrol.sim.field import FieldWorld
from gossipcontrol.sim.result import Result
from gossipcontrol.sim.scenario import Scenario
from gossipcontrol.sim.scenario_file import FleetScenario
from gossipcontrol.sim.silence import SilenceMeter
from gossipcontrol.sim.trial import Trial
from gossipcontrol.sim.world import World


class MeteredWorld(FieldWorld):
    """Real networks, with a meter of silence; a service that has crashed takes nothing."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self.meter = SilenceMeter(self.nodes)

    def _hear(self, node_id: str, author: str, direct: bool) -> None:
        super()._hear(node_id, author, direct)
        if self._now <= self.scenario.duration:
            self.meter.hear(node_id, author, self._now)

    def _handle(self, event: Event, not_before: float = 0.0) -> None:
        if self._serving:
            super()._handle(event, not_before)


def simulate(fleet: FleetScenario, trial: Trial, on_run: Callable[[], None] = lambda: None) -> Result:
    """What a configuration does in a scenario, over all its seeds; ``on_run`` is called after each."""
    scenario = replace(fleet.scenario, parameters=trial.deciding, liveness=trial.liveness)
    result = Result(trial.label)
    for seed in fleet.seeds:
        world = MeteredWorld(scenario, seed) if fleet.overlay == "field" else World(scenario, seed)
        taken = world.run()
        result.count(taken, taken[0].at if taken else 0.0)
        result.broken += world.losses
        if isinstance(world, MeteredWorld):
            world.meter.finish(scenario.duration, result)
        on_run()
    for silence in result.silences.values():
        silence.mean /= result.runs
    result.unheard = [share / result.runs for share in result.unheard]
    return result


def without_service(fleet: FleetScenario) -> FleetScenario:
    """The same scenario in which no node has an agent."""
    return replace(fleet, scenario=replace(fleet.scenario, agents=0))
