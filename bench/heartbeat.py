"""Seeded traces of the reports about peers that live, and then die silently.

Each peer sends messages in a rhythm of its own; observers hear some of them, and report at the service's cadence. All
detectors get the same trace.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

CADENCE = 2.0
"""Seconds between the reports of an observer, as the service asks for them."""
AFTERMATH = 120.0
"""Seconds for which dead peers are watched."""
DEATHS = 60.0
"""Seconds over which the deaths are spread."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report: its arrival, its sender, and when the sender last heard each peer (service time)."""

    at: float
    observer_id: str
    heard: tuple[tuple[str, float], ...]
    asleep: bool = False
    """The sender only announces its sleep."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The reports in order, and when each peer really died."""

    reports: tuple[Report, ...]
    died_at: dict[str, float]
    lived: float
    """Seconds before the first death."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The properties of a trace. Durations are seconds."""

    name: str
    observers: int = 3
    spread: float = 0.05
    """Standard deviation of the logarithm of a peer's intervals."""
    loss: tuple[float, float] = (0.0, 0.0)
    """Range of the share of a peer's messages that is lost, in bursts; drawn per peer."""
    burst: float = 2.0
    """Mean length of a burst."""
    stall: float = 0.0
    """Mean length of an observer's stalls, in which it neither hears nor reports; one every 60 s on average."""
    sleep: float = 0.0
    """Mean length of a peer's announced sleep; one every 5 min on average."""


SCENES = (
    Scene("steady"),
    Scene("jittery", spread=0.5),
    Scene("bursty loss of 10 to 30 %", loss=(0.1, 0.3)),
    Scene("a loaded reporter", observers=1, stall=3.0),
    Scene("mobile sleep", sleep=120.0),
)


def make_trace(scene: Scene, seed: int, peers: int = 20, lived: float = 3600.0) -> Trace:
    """One trace; the same seed gives the same."""
    chance = random.Random(f"{scene.name} {seed}")
    observers = [f"observer-{number}" for number in range(scene.observers)]
    died_at = {f"peer-{number}": lived + chance.random() * DEATHS for number in range(peers)}
    end = lived + DEATHS + AFTERMATH
    stalls = list(_spells(chance, 60.0, scene.stall, end)) if scene.stall else []
    heard: dict[str, dict[str, list[float]]] = {observer: {} for observer in observers}
    reports: list[Report] = []
    for peer, death in died_at.items():
        naps = list(_spells(chance, 300.0, scene.sleep, death - 30.0)) if scene.sleep else []
        reports += [Report(began_at, peer, (), asleep=True) for began_at, _ in naps]
        for observer in observers:
            heard[observer][peer] = []
        for at in _messages(chance, scene, death, naps):
            for observer in observers:
                if chance.random() >= 0.01:
                    heard[observer][peer].append(_after(at + 0.02 + chance.expovariate(1 / 0.05), stalls))
    for observer in observers:
        reports += _reports(chance, observer, heard[observer], stalls, end)
    reports.sort(key=lambda one: one.at)
    return Trace(tuple(reports), died_at, lived)


def _messages(chance: random.Random, scene: Scene, death: float, naps: list[tuple[float, float]]) -> Iterator[float]:
    """When a peer sends messages that are not lost; its interval is between 0.5 and 4 s."""
    interval = 0.5 * 8 ** chance.random()
    loss = chance.uniform(*scene.loss)
    gap = scene.burst * (1 - loss) / loss if loss else math.inf
    bursts = list(_spells(chance, gap, scene.burst, death)) if loss else []
    at = chance.random() * interval
    while at < death:
        if not _within(at, naps) and not _within(at, bursts):
            yield at
        at += interval * math.exp(chance.gauss(0.0, scene.spread) - scene.spread**2 / 2)


def _reports(
    chance: random.Random, observer: str, heard: dict[str, list[float]], stalls: list[tuple[float, float]], end: float
) -> Iterator[Report]:
    """The reports of an observer; right after a stall it reports before it has caught up."""
    for times in heard.values():
        times.sort()
    places = dict.fromkeys(heard, -1)
    at = chance.random() * CADENCE
    while at < end:
        due_at, at = at, _after(at, stalls)
        knows_until = min(at, due_at)
        for peer, times in heard.items():
            place = places[peer]
            while place + 1 < len(times) and times[place + 1] <= knows_until:
                place += 1
            places[peer] = place
        way = 0.005 + chance.expovariate(1 / 0.01)
        seen = tuple((peer, heard[peer][place] + way) for peer, place in places.items() if place >= 0)
        yield Report(at + way, observer, seen)
        at += CADENCE * chance.uniform(0.95, 1.05)


def _spells(chance: random.Random, every: float, length: float, end: float) -> Iterator[tuple[float, float]]:
    """Spells of a mean length, with a mean pause between them."""
    at = chance.expovariate(1 / every)
    while at < end:
        until = at + chance.expovariate(1 / length)
        yield at, min(until, end)
        at = until + chance.expovariate(1 / every)


def _within(at: float, spells: list[tuple[float, float]]) -> bool:
    return _after(at, spells) > at


def _after(at: float, spells: list[tuple[float, float]]) -> float:
    """The instant, or the end of the spell that it falls into."""
    place = bisect_right(spells, (at, math.inf)) - 1
    return max(at, spells[place][1]) if place >= 0 else at
