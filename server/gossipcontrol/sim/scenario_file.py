"""Reads a scenario from a TOML file, and names every mistake by its key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast, get_args

from gossipcontrol.server.config import section
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.sim.scenario import Scenario, Step, What
from gossipcontrol.sim.trial import ScenarioError, Trial

FIELD: frozenset[What] = frozenset({
    "partition", "unplug", "move", "renumber", "vpn", "freeze", "pause", "outage", "restart", "stall", "mute", "deaf",
    "hole", "flap", "ask", "suspect", "churn",
})  # fmt: skip
"""What can happen in the overlay ``field``: one store, whose nodes gossip as in real networks."""
PLAIN: frozenset[What] = frozenset({
    "outage", "lid", "flap", "restart", "partition", "suspect", "ask", "clock", "churn", "stranger", "agentless",
})  # fmt: skip
"""What can happen in the overlay ``plain``: any number of stores, whose nodes report neighbours, but send nothing."""
OVERLAYS: Mapping[str, frozenset[What]] = {"field": FIELD, "plain": PLAIN}
LINKS = ("delay", "loss", "duplicate")
FLEET = ("nodes", "stores", "stores_per_node", "nodes_per_host", "agents", "away", "duration", "report_interval")
MOST = 1e6
_DEFAULTS: dict[str, Any] = {"stores": 1, "report_interval": 2.0, "delay": 0.1}


@dataclass(frozen=True, slots=True)
class FleetScenario:
    """A scenario, the model of its overlay, its seeds, and the configuration that it brings itself."""

    scenario: Scenario
    overlay: str
    seeds: range
    own: Trial


def read_scenario(path: Path) -> FleetScenario:
    """A scenario file; raises ScenarioError with every mistake."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is neither a state file nor TOML: {error}") from error
    return _Reader(path, document).read()


class _Reader:
    """One file; what is wrong is collected."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self._path = path
        self._document = document
        self._mistakes: list[str] = []

    def read(self) -> FleetScenario:
        document = self._document
        known = ("name", "overlay", "seed", "seeds", *FLEET, "links", "trouble", "deciding", "liveness")
        self._mistakes += [f"{key}: unknown key; known are {', '.join(known)}" for key in document if key not in known]
        overlay = document.get("overlay", "field")
        if overlay not in OVERLAYS:
            self._mistakes.append(f"overlay: {overlay!r} is not one of {', '.join(OVERLAYS)}")
        links = self._table("links", LINKS)
        values = {key: document[key] for key in FLEET if key in document} | {
            key: links[key] for key in LINKS if key in links
        }
        numbers: dict[str, Any] = {key: self._number(key, value, Scenario, key) for key, value in values.items()}
        steps = self._steps(OVERLAYS.get(str(overlay), FIELD))
        own = self._trial()
        if overlay == "field":
            self._check_field(numbers)
        for key in ("nodes", "duration"):
            if numbers.get(key, 1) < 1:
                self._mistakes.append(f"{key}: must be at least 1")
        seed, seeds = (self._number(key, document.get(key, 1), None, key) for key in ("seed", "seeds"))
        if "nodes" not in numbers:
            self._mistakes.append("nodes: must be given")
        if self._mistakes:
            raise ScenarioError("; ".join(f"{self._path}: {one}" for one in self._mistakes))
        name = str(document.get("name", self._path.stem))
        scenario = Scenario(
            name=name, steps=steps, parameters=own.deciding, liveness=own.liveness,
            **(_DEFAULTS | numbers),
        )  # fmt: skip
        return FleetScenario(scenario, str(overlay), range(int(seed), int(seed) + max(1, int(seeds))), own)

    def _check_field(self, numbers: Mapping[str, Any]) -> None:
        if numbers.get("stores", 1) != 1:
            self._mistakes.append('stores: the overlay "field" has one store; overlay = "plain" has any number')
        if numbers.get("nodes", 2) < 2:
            self._mistakes.append('nodes: the overlay "field" needs at least 2')

    def _steps(self, known: frozenset[What]) -> tuple[Step, ...]:
        listed: list[Any] | Any = self._document.get("trouble", [])
        if not isinstance(listed, list):
            self._mistakes.append("trouble: must be tables, [[trouble]]")
            return ()
        return tuple(self._step(number, one, known) for number, one in enumerate(cast("Sequence[Any]", listed), 1))

    def _step(self, number: int, given: Any, known: frozenset[What]) -> Step:
        where = f"trouble {number}"
        table = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        names = [one.name for one in fields(Step)]
        self._mistakes += [
            f"{where}.{key}: unknown key; known are {', '.join(names)}" for key in table if key not in names
        ]
        what = table.get("what", "")
        if what not in known:
            hint = " in this overlay" if what in get_args(What) else ""
            self._mistakes.append(f"{where}.what: {what!r} is not one of {', '.join(sorted(known))}{hint}")
        values: dict[str, Any] = {
            key: self._number(f"{where}.{key}", value, Step, key)
            for key, value in table.items()
            if key in names and key != "what"
        }
        if "at" not in values:
            self._mistakes.append(f"{where}.at: must be given")
        values.setdefault("at", 0.0)
        return Step(what=what, **values)

    def _trial(self) -> Trial:
        given, mistakes = self._document, self._mistakes
        deciding: Parameters = section("deciding", Parameters, given.get("deciding", {}), mistakes)
        liveness = section("liveness", LivenessParameters, given.get("liveness", {}), mistakes)
        return Trial("scenario", deciding, liveness)

    def _table(self, key: str, known: tuple[str, ...]) -> dict[str, Any]:
        given = self._document.get(key, {})
        if not isinstance(given, dict):
            self._mistakes.append(f"{key}: must be a table, [{key}]")
            return {}
        table = cast("dict[str, Any]", given)
        self._mistakes += [
            f"{key}.{one}: unknown key; known are {', '.join(known)}" for one in table if one not in known
        ]
        return table

    def _number(self, where: str, value: Any, kind: type[Any] | None, key: str) -> Any:
        """A number as the field of a class wants it: whole, or not."""
        hint = "int" if kind is None else str(kind.__annotations__.get(key, "float"))
        whole = "int" in hint
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and value != int(value)):
            self._mistakes.append(f"{where}: {value!r} is not {'a whole number' if whole else 'a number'}")
            return 1
        least = -MOST if key == "length" else 0
        if not least <= value <= MOST:
            self._mistakes.append(f"{where}: must be from {least:g} to {MOST:g}, is {value}")
            return 1
        return int(value) if whole else float(value)
