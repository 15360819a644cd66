"""A store is looked at in parts: the findings are the same, and no call does much."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.diagnosis import diagnosis, store_monitor
from gossipcontrol.server.core.diagnosis.links import Links, StateOf
from gossipcontrol.server.core.diagnosis.reports import StoreReports
from gossipcontrol.server.core.event import LivenessEvent, LivenessReported, TimePassed
from gossipcontrol.server.core.finding import Finding, NodeSuspected
from gossipcontrol.server.core.presence.parameter import LivenessParameters

from tests.kit.diagnosis_lab import STORE, FakePresence, names, settled
from tests.kit.roster import LoneDiagnosis


def findings(monkeypatch: pytest.MonkeyPatch, parts: int, seed: int) -> list[tuple[float, Finding]]:
    """What is found of a node that rots, and of a partition, in parts of that size."""
    monkeypatch.setattr(diagnosis, "PARTS_PER_CALL", parts)
    lab = settled(seed, 8)
    lab.heals = False
    lab.blocked = lambda sender, receiver, large: sender == "n3"
    lab.run(120.0)
    lab.cut(names(2), names(6, 2))
    lab.run(120.0)
    return lab.findings


@pytest.mark.parametrize("seed", range(3))
def test_the_findings_do_not_depend_on_the_size_of_the_parts(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    whole = findings(monkeypatch, 1_000_000, seed)
    assert whole
    assert findings(monkeypatch, 1, seed) == whole


def silent(node_id: str, neighbors: dict[str, float]) -> LivenessReported:
    return LivenessReported(node_id, STORE, {}, neighbors, 0)


def test_a_thousand_findings_come_a_few_at_a_time_and_reports_wait_meanwhile() -> None:
    """Each may become a trigger: all at once they held up everybody for a tenth of a second."""
    lone, found, most = LoneDiagnosis(LivenessParameters(), FakePresence()), list[Finding](), 0
    nodes = [f"n{number}" for number in range(1000)]

    def handle(event: LivenessEvent, now: float) -> None:
        nonlocal most
        part = lone.handle(event, now)
        found.extend(part)
        most = max(most, len(part))

    for second in range(5):
        now = 1000.0 + 2 * second
        for node_id in nodes:
            handle(silent(node_id, {} if second else {"gone": 0.0}), now)
        while (due_at := lone.next_deadline()) is not None and due_at <= now:
            handle(TimePassed(), now)
    assert len({one.node_id for one in found if isinstance(one, NodeSuspected)}) == 1000
    assert 1 < most <= diagnosis.PARTS_PER_CALL


def looks(gap_per_part: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a store is looked at in 4 s whose nodes name neighbours that nobody else knows."""
    made = list[Links]()

    class CountedLinks(Links):
        def __init__(self, reports: StoreReports, parameters: LivenessParameters, state: StateOf, now: float) -> None:
            super().__init__(reports, parameters, state, now)
            made.append(self)

    monkeypatch.setattr(store_monitor, "Links", CountedLinks)
    monkeypatch.setattr(store_monitor, "GAP_PER_PART", gap_per_part)
    lone = LoneDiagnosis(LivenessParameters(), FakePresence())
    for quarter in range(17):
        now = 1000.0 + quarter / 4
        for number in range(100):
            lone.handle(silent(f"n{number}", {f"n{number}-{peer}": 0.0 for peer in range(200)}), now)
        while (due_at := lone.next_deadline()) is not None and due_at <= now:
            lone.handle(TimePassed(), now)
    return len(made)


def test_a_store_that_is_dear_to_look_at_is_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(0.0, monkeypatch) == 5
    assert looks(0.02, monkeypatch) == 3
