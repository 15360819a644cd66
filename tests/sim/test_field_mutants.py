"""Each element of the model of real networks matters: a core, an agent or a model without it breaks a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gossipcontrol.server.core.deciding.registry import Registry
from gossipcontrol.server.core.diagnosis.store_monitor import StoreMonitor
from gossipcontrol.server.core.event import NodeAttached
from gossipcontrol.server.core.presence import presence
from gossipcontrol.server.core.presence.presence import Presence
from gossipcontrol.server.core.repair import partition_repair
from gossipcontrol.server.core.repair.partition_repair import PartitionRepair
from gossipcontrol.server.core.repair.silence import SilenceRepair
from gossipcontrol.server.core.repair.unheard import UnheardPeers
from gossipcontrol.sim.dialler import SHUFFLE, Dialler
from gossipcontrol.sim.field import FieldWorld
from gossipcontrol.sim.paths import Paths
from gossipcontrol.sim.scenario import Step

from tests.kit.sim.comparison import breaches
from tests.kit.sim.trouble import TROUBLES, Shape

ATTACH = Registry.attach
UPDATE = SilenceRepair.update


def nothing(*args: Any, **named: Any) -> Any:
    return []


def same(found: Any, *args: Any) -> Any:
    return found


def yes(*args: Any, **named: Any) -> bool:
    return True


def keep_the_first_addresses(self: Registry, node: Any, event: NodeAttached, now: float) -> Any:
    addresses = node.addresses
    attached = ATTACH(self, node, event, now)
    node.addresses = addresses or node.addresses
    return attached


def only_total(self: SilenceRepair, node_id: str, candidates: Any, now: float, *, is_total: bool) -> None:
    UPDATE(self, node_id if is_total else "", candidates if is_total else (), now, is_total=is_total)


def suspend_without_a_default_route(self: Any, step: Step) -> None:
    """As if a lost default route were a lost network."""
    self._begin(step.length)
    for node in self._affected(step):
        if self._has_agent(node):
            self._suspend(node)
            self._at(step.length, self._resume, node)


MUTANTS: list[tuple[str, Any, str, Any, str, Shape, str]] = [
    ("silence is no trigger", StoreMonitor, "_check_silence", nothing,
     "silent black hole of one host", Shape.SIDECAR, "heals"),
    ("only total silence is probed", SilenceRepair, "update", only_total,
     "black hole between two parts of a site", Shape.SIDECAR, "heals"),
    ("a reached peer counts as heard", UnheardPeers, "add", nothing,
     "black hole between two parts of a site", Shape.SIDECAR, "heals"),
    ("a path across a partition is not used", PartitionRepair, "on_reached", nothing,
     "silent black hole of one host", Shape.HUB, "heals"),
    ("a rejoin goes over dead links", partition_repair, "_resubscribe_if_dead", same,
     "dead links of one host", Shape.HUB, "heals"),
    ("the service's own pause is not forgiven", Presence, "on_service_paused", nothing,
     "service stops for 100 s", Shape.SIDECAR, "contradicted"),
    ("hints name where peers were", Registry, "attach", keep_the_first_addresses,
     "site renumbered at once", Shape.HUB, "heals"),
    ("an announced sleep outlasts signs of life", presence, "DEPARTURE_GRACE", 1e9,
     "one host unplugged", Shape.SIDECAR, "away"),
    ("agents never announce a new address", FieldWorld, "_settle", nothing,
     "site renumbered at once", Shape.HUB, "heals"),
    ("a lost default route suspends nodes: worse", FieldWorld, "_vpn", suspend_without_a_default_route,
     "internet lost", Shape.SIDECAR, "worse"),
    ("a lost default route suspends nodes: away", FieldWorld, "_vpn", suspend_without_a_default_route,
     "internet lost", Shape.SIDECAR, "away"),
    ("no peer knocks", Dialler, "knock", nothing,
     "silent black hole of one host", Shape.HUB, "heals"),
    ("every dial finds its peer", Paths, "knows", yes,
     "site renumbered at once", Shape.HUB, "no better"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name", "mutant", "trouble", "shape", "rule"),
    [mutant[1:] for mutant in MUTANTS],
    ids=[mutant[0] for mutant in MUTANTS],
)
def test_a_mutant_is_found(
    where: Any,
    name: str,
    mutant: Callable[..., Any],
    trouble: str,
    shape: Shape,
    rule: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (happening,) = [one for one in TROUBLES if one.name == trouble]
    monkeypatch.setattr(where, name, mutant)
    assert rule in {text.partition(":")[0] for text in breaches(happening, 3, (shape,), 2)}


def test_what_keeps_bare_nodes_apart_is_the_dial_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    (trouble,) = [one for one in TROUBLES if one.name == "silent black hole of one host"]
    scenario = replace(trouble, duration=250.0).scenario(Shape.BARE, 3)
    poisoned = FieldWorld(scenario, 0)
    poisoned.run()
    monkeypatch.setattr(Dialler, "poison", nothing)
    harmless = FieldWorld(scenario, 0)
    harmless.run()
    assert poisoned.outcome.broken_at >= scenario.duration - 1
    assert harmless.outcome.healed_in <= SHUFFLE + 1
