"""The command ``gossipcontrol simulate``: what a configuration would do, without a service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
from gossipcontrol.cli.document import print_document
from gossipcontrol.cli.invocation import FAILED, json_option
from gossipcontrol.cli.output import say
from gossipcontrol.cli.simulation_table import plain_result, show_simulation
from gossipcontrol.sim.fleet import simulate as run_fleet
from gossipcontrol.sim.fleet import without_service
from gossipcontrol.sim.plot import check_plot, draw
from gossipcontrol.sim.recorded import is_state_file, read_record, recorded_result
from gossipcontrol.sim.replay import replay
from gossipcontrol.sim.result import Result
from gossipcontrol.sim.scenario import Step
from gossipcontrol.sim.scenario_file import read_scenario
from gossipcontrol.sim.trial import ScenarioError, Trial, read_trial

FILE = click.Path(path_type=Path)


@dataclass(slots=True)
class Comparison:
    """What was tried on what."""

    title: str
    results: list[Result] = field(default_factory=list[Result])
    steps: Sequence[Step] = ()
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Of nodes that have one."""
    notes: list[str] = field(default_factory=list[str])


@click.command()
@click.argument("scenario", metavar="SCENARIO", type=FILE)
@click.option("--config", "configs", multiple=True, type=FILE, help="A configuration of the service; repeatable.")
@click.option("--without-service", "bare", is_flag=True, help="Add the same scenario without any agent.")
@click.option("--seeds", type=click.IntRange(1, 10_000), help="Number of runs; default: what the scenario says.")
@click.option(
    "--last", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Of a record: only its end."
)
@click.option("--plot", type=FILE, metavar="FILE", help="Draw the results into a .png or .svg; needs the extra sim.")
@json_option
def simulate(
    scenario: Path,
    configs: tuple[Path, ...],
    bare: bool,
    seeds: int | None,
    last: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Try configurations on a SCENARIO, or on the record in a backup of the service's state.

    A scenario is a TOML file: a fleet, its links, and troubles with times. Of a record, the triggers are decided again.
    """
    try:
        if plot is not None:
            check_plot(plot)
        trials = [read_trial(path) for path in configs]
        if is_state_file(scenario):
            if bare or seeds:
                raise click.UsageError("--without-service and --seeds are for scenarios, not for a record")
            compared = _compare_record(scenario, trials, last)
        else:
            if last is not None:
                raise click.UsageError("--last is for a record, not for a scenario")
            compared = _compare_fleet(scenario, trials, seeds, bare=bare)
    except ScenarioError as error:
        say(f"gossipcontrol: {error}", error=True)
        sys.exit(FAILED)
    _show(compared, as_json)
    if plot is not None:
        draw(plot, compared.title, compared.results, compared.steps, compared.names)
    sys.exit(FAILED if any(one.broken for one in compared.results) else 0)


def _compare_record(path: Path, trials: Sequence[Trial], last: float | None) -> Comparison:
    record = read_record(path, last)
    compared = Comparison(path.name, names={node.node_id: node.name for node in record.nodes if node.name})
    compared.results = [recorded_result(record), *(replay(record, one) for one in trials or [record.written_with])]
    if record.missing:
        compared.notes.append(f"{record.missing} triggers were counted, but are not kept: a rejoin keeps 16")
    return compared


def _compare_fleet(path: Path, trials: Sequence[Trial], seeds: int | None, *, bare: bool) -> Comparison:
    fleet = read_scenario(path)
    if seeds is not None:
        fleet = replace(fleet, seeds=range(fleet.seeds.start, fleet.seeds.start + seeds))
    compared = Comparison(fleet.scenario.name, steps=fleet.scenario.steps)
    chosen = list(trials) or [fleet.own]
    count = len(fleet.seeds) * (len(chosen) + bare)
    progress = _progress(count)
    if bare:
        compared.results.append(run_fleet(without_service(fleet), Trial("no service"), progress))
    compared.results += [run_fleet(fleet, one, progress) for one in chosen]
    return compared


def _progress(count: int) -> Callable[[], None]:
    """Says on a terminal which of so many runs is over."""
    done = 0

    def on_run() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            end = "\n" if done == count else ""
            click.echo(f"\rrun {done} of {count}{end}", err=True, nl=False)

    return on_run


def _show(compared: Comparison, as_json: bool) -> None:
    if as_json:
        results = [plain_result(one, compared.names) for one in compared.results]
        print_document({"scenario": compared.title, "notes": compared.notes, "results": results})
        return
    show_simulation(compared.title, compared.results, compared.names)
    for note in compared.notes:
        say(f"note  {note}")
    for one in compared.results:
        for sentence in one.broken[:3]:
            say(f"WRONG {one.label}: an invariant of the core is broken: {sentence}")
