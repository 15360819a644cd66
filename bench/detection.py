"""How soon the silent death of a peer is detected, against how often a living peer is suspected in error.

This service's detector (the real core, not a model of it), chitchat's phi, Cassandra's phi and a fixed timeout get the
same reports, from seeded traces (bench/heartbeat.py). The threshold of each is swept. ``--seed`` selects other traces
than those of the published figures; the detector was tuned on seeds from 100 on.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gossipcontrol.server.core.event import LivenessReported, TimePassed
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from rich.console import Console
from rich.table import Table

from bench.baselines import Cassandra, Chitchat, Detector, Fixed
from bench.heartbeat import AFTERMATH, DEATHS, SCENES, Scene, Trace, make_trace
from bench.report import Figure, arguments, show

WARM_UP = 60.0
"""Seconds at the start of a trace in which errors do not count."""
NEWS = 0.2
"""Seconds by which a later message makes a heartbeat; a smaller difference is the same message by another path."""
STORE = "store"
DEVIATIONS = tuple(3.0 * 1.3**step for step in range(9))
"""The first sweep of this detector's threshold; without its floor, with its ceiling."""
HALVINGS = 4
"""How often the step across a rate is halved; the baselines are computed at every threshold."""
RATES = (0.1, 0.5, 2.0)
"""Errors per peer-hour at which detection times are compared."""
DEFAULT = LivenessParameters()


@dataclass(frozen=True, slots=True)
class Point:
    """The result of one threshold."""

    errors: float
    """Living peers suspected, per peer-hour."""
    delay: float
    """Mean seconds from a death to the suspicion."""


Detect = Callable[[Trace], tuple[int, list[float]]]


def ours(parameters: LivenessParameters, trace: Trace) -> tuple[int, list[float]]:
    """Errors and detection times of the real core; its deadlines are served exactly when they are due."""
    liveness, version, errors = Liveness(parameters), 0, 0
    suspected_at: dict[str, float] = {}

    def count(now: float) -> None:
        nonlocal version, errors
        for change, peer, peer_id in liveness.changes(STORE, version) or ():
            version = change
            if peer is None or peer_id not in trace.died_at:
                continue
            if peer.state is PeerState.SUSPECT:
                suspected_at[peer_id] = now
                errors += WARM_UP < now < trace.died_at[peer_id] and now < trace.lived
            elif peer.state is not PeerState.OFFLINE:
                suspected_at.pop(peer_id, None)

    for report in trace.reports:
        while (deadline := liveness.next_deadline()) is not None and deadline < report.at:
            if liveness.handle(TimePassed(), deadline):
                count(deadline)
        event = LivenessReported(report.observer_id, STORE, dict(report.heard), going_to_sleep=report.asleep)
        if liveness.handle(event, report.at):
            count(report.at)
    end = trace.lived + DEATHS + AFTERMATH
    return errors, [max(0.0, suspected_at.get(peer, end) - at) for peer, at in trace.died_at.items()]


@dataclass(frozen=True, slots=True)
class Course:
    """The result of a baseline on a trace, for every threshold at once."""

    peaks: list[float]
    """For each silence of a living peer, the threshold that it just reached."""
    last: dict[str, tuple[float, float]]
    """For each peer that died, its last heartbeat, and the seconds per unit of the threshold then."""


def course(make: Callable[[], Detector], at_hearing: bool, trace: Trace) -> Course:
    """Feed a baseline; heartbeats are the instants of hearing, or those at which the reports arrived."""
    made: dict[str, Detector] = {}
    heard_at: dict[str, float] = {}
    beat_at: dict[str, float] = {}
    peaks: list[float] = []
    for report in trace.reports:
        for peer, at in report.heard:
            if peer in heard_at and at <= heard_at[peer] + NEWS:
                continue
            if peer not in made:
                made[peer] = make()
            elif WARM_UP < report.at < trace.lived:
                peaks.append((report.at - beat_at[peer]) / made[peer].patience(1.0))
            heard_at[peer] = at
            beat_at[peer] = at if at_hearing else report.at
            made[peer].beat(beat_at[peer])
    peaks.sort()
    return Course(peaks, {peer: (beat_at[peer], one.patience(1.0)) for peer, one in made.items()})


def baseline_points(make: Callable[[], Detector], traces: Sequence[Trace], hours: float) -> list[list[Point]]:
    """The curves of a baseline, one per kind of heartbeat, at the thresholds at which its errors change."""
    curves: list[list[Point]] = []
    for at_hearing in (True, False):
        courses = [course(make, at_hearing, trace) for trace in traces]
        every = sorted((peak for one in courses for peak in one.peaks), reverse=True)
        ranks = sorted({int(rate * hours * step / 10) for rate in RATES for step in range(1, 41)} | {0})
        curve: list[Point] = []
        for rank in ranks:
            if rank < len(every):
                threshold = every[rank]
                delays = [
                    max(0.0, at + threshold * unit - trace.died_at[peer])
                    for one, trace in zip(courses, traces, strict=True)
                    for peer, (at, unit) in one.last.items()
                ]
                errors = sum(len(one.peaks) - bisect_right(one.peaks, threshold) for one in courses)
                curve.append(Point(errors / hours, statistics.fmean(delays)))
        curves.append(curve)
    return curves


def our_points(traces: Sequence[Trace], hours: float) -> list[Point]:
    """The curve of this detector, refined near each rate."""
    known = {deviations: _ours_at(deviations, traces, hours) for deviations in DEVIATIONS}
    for rate in RATES:
        for _ in range(HALVINGS):
            above = max((one for one, point in known.items() if point.errors > rate), default=None)
            below = min((one for one in known if above is None or one > above), default=None)
            if above is None or below is None:
                break
            middle = (above + below) / 2
            known[middle] = _ours_at(middle, traces, hours)
    return list(known.values())


def _ours_at(deviations: float, traces: Sequence[Trace], hours: float) -> Point:
    return our_point(LivenessParameters(suspect_floor=0.1, suspect_deviations=deviations), traces, hours)


def our_point(parameters: LivenessParameters, traces: Sequence[Trace], hours: float) -> Point:
    """The result of these parameters."""
    seen = [ours(parameters, trace) for trace in traces]
    return Point(
        sum(errors for errors, _ in seen) / hours, statistics.fmean(delay for _, delays in seen for delay in delays)
    )


def delay_at(curve: Sequence[Point], rate: float) -> float | None:
    """The shortest delay with at most this error rate; None when no threshold reaches it."""
    return min((point.delay for point in curve if point.errors <= rate), default=None)


def errors_at(curve: Sequence[Point], delay: float) -> float | None:
    """The lowest error rate with at most this delay; None when no threshold reaches it."""
    return min((point.errors for point in curve if point.delay <= delay), default=None)


BASELINES: dict[str, Callable[[], Detector]] = {
    "fixed timeout": Fixed,
    "chitchat phi": Chitchat,
    "Cassandra phi": Cassandra,
}


def measure(seeds: Sequence[int], scenes: Sequence[Scene], peers: int, lived: float) -> dict[str, Figure]:
    """Measure all scenes, print the table, and return the figures."""
    figures: dict[str, Figure] = {}
    names = [f"{rate:g}/h" for rate in RATES]
    table = Table(
        "TRACE",
        "DETECTOR",
        *(f"SECONDS AT {name}" for name in names),
        *(f"ERRORS/H AT OUR {name} SPEED" for name in names),
    )
    for scene in scenes:
        traces = [make_trace(scene, seed, peers, lived) for seed in seeds]
        hours = len(traces) * peers * (lived - WARM_UP) / 3600
        mine = our_points(traces, hours)
        delays = [delay_at(mine, rate) for rate in RATES]
        table.add_row(scene.name, "GossipControl", *map(_text, delays), *(_text(_errors(mine, one)) for one in delays))
        for name, make in BASELINES.items():
            curves = baseline_points(make, traces, hours)
            baseline_delays = [_least(delay_at(curve, rate) for curve in curves) for rate in RATES]
            wrong = [None if one is None else _least(errors_at(curve, one) for curve in curves) for one in delays]
            table.add_row("", name, *map(_text, baseline_delays), *map(_text, wrong))
            for rate, our_at, baseline_at, baseline_errors in zip(RATES, delays, baseline_delays, wrong, strict=True):
                what = f"{scene.name}, {rate:g} errors/h, {name}"
                figures |= _compared(what, mine, our_at, baseline_at, baseline_errors)
        point = our_point(DEFAULT, traces, hours)
        figures[f"{scene.name}, defaults: errors"] = Figure(point.errors, "per peer-hour")
        figures[f"{scene.name}, defaults: detection"] = Figure(point.delay, "s")
    Console(width=170, stderr=True).print(table)
    return figures


def _compared(
    what: str, mine: Sequence[Point], our_at: float | None, baseline_at: float | None, baseline_errors: float | None
) -> dict[str, Figure]:
    """Targets: faster at equal errors, and fewer errors at equal speed, also where a baseline reaches neither."""
    if our_at is None:
        return {f"{what}: detection": Figure(None, "s", "faster", met=baseline_at is None)}
    errors = _errors(mine, our_at)
    faster = baseline_at is None or our_at < baseline_at
    fewer = baseline_errors is None or (errors is not None and errors < baseline_errors)
    target = "never" if baseline_at is None else f"{baseline_at:.2f} s"
    limit = "never so fast" if baseline_errors is None else f"{baseline_errors:.2f}"
    return {
        f"{what}: detection": Figure(our_at, "s", f"below {target}", faster),
        f"{what}: errors at that speed": Figure(errors, "per peer-hour", f"below {limit}", fewer),
    }


def _errors(curve: Sequence[Point], delay: float | None) -> float | None:
    return None if delay is None else errors_at(curve, delay)


def _least(values: Iterable[float | None]) -> float | None:
    return min((one for one in values if one is not None), default=None)


def _text(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first trace (1)")
    chosen = parser.parse_args()
    count, lived = (1, 900.0) if chosen.quick else (5, 3600.0)
    figures = measure(range(chosen.seed, chosen.seed + count), SCENES, 20, lived)
    show("detection", figures, chosen.as_json)


if __name__ == "__main__":
    main()
