"""The service's own pauses are nobody's silence: it looks at the clock before it looks at deadlines."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.event import TimePassed
from gossipcontrol.server.core.presence.presence import Presence
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.liveness_lab import Lab

PEERS = [f"p{number}" for number in range(20)]


def busy() -> Lab:
    """Two observers report twenty peers that speak every second."""
    lab = Lab()
    for _ in range(30):
        lab.advance(2.0)
        for observer in ("n", "m"):
            lab.report(observer, dict.fromkeys(PEERS, 0.5))
    return lab


def states(lab: Lab) -> set[PeerState]:
    return {peer.state for peer in lab.liveness.peers("a")}


@pytest.mark.parametrize("pause", [5.0, 60.0, 3600.0])
def test_nobody_is_suspected_because_the_service_stood_still(pause: float) -> None:
    lab = busy()
    lab.now += pause  # the service is stopped: no deadline is served, no report is read
    lab.handle(TimePassed())
    assert states(lab) == {PeerState.ONLINE}
    for _ in range(5):
        lab.advance(2.0)
        for observer in ("n", "m"):
            lab.report(observer, dict.fromkeys(PEERS, 0.5))
            assert states(lab) == {PeerState.ONLINE}


def test_a_peer_that_stays_silent_after_the_pause_is_suspected_and_then_offline() -> None:
    lab = busy()
    lab.now += 60.0
    seen: dict[float, PeerState | None] = {}
    resumed_at = lab.now
    for _ in range(60):
        lab.handle(TimePassed())
        lab.report("n", dict.fromkeys(PEERS[1:], 0.5))
        lab.report("m", dict.fromkeys(PEERS[1:], 0.5))
        seen[lab.now - resumed_at] = lab.state(PEERS[0])
        lab.advance(2.0)
    first = min(after for after, state in seen.items() if state is PeerState.SUSPECT)
    assert first <= 20.0, "its observers prove the silence"
    assert seen[max(seen)] is PeerState.OFFLINE
    assert {lab.state(peer_id) for peer_id in PEERS[1:]} == {PeerState.ONLINE}


def test_with_nobody_to_prove_it_silence_counts_from_the_end_of_the_pause() -> None:
    lab = busy()
    ceiling = lab.parameters.suspect_ceiling
    lab.now += 600.0
    lab.handle(TimePassed())
    lab.advance(ceiling - 1.0)
    assert states(lab) == {PeerState.ONLINE}
    lab.advance(2.0)
    assert states(lab) == {PeerState.SUSPECT}


@pytest.mark.parametrize("count", [200, 800])
def test_a_round_of_reports_after_a_pause_costs_in_proportion_to_the_nodes(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short cut of a hub's uplink must not leave it with more to do than it can: see `bench/recover`."""
    lab, nodes = Lab(), [f"n{number}" for number in range(count)]
    refreshed: list[int] = []
    refresh = Presence._refresh  # pyright: ignore[reportPrivateUsage]

    def counted(self: Presence, row: int, now: float) -> None:
        refreshed.append(row)
        refresh(self, row, now)

    def report_all() -> None:
        for index, node_id in enumerate(nodes):
            lab.now += 0.0001  # each proves a little more than the one before
            lab.report(node_id, {nodes[index - 1]: 0.5}, neighbors=[(nodes[index - 1], 60.0)])

    for _ in range(5):
        report_all()
        lab.advance(2.0)
    lab.now += 12.0
    monkeypatch.setattr(Presence, "_refresh", counted)
    for _ in range(3):
        report_all()
        lab.advance(2.0)
    assert len(refreshed) <= 4 * count
    assert states(lab) == {PeerState.ONLINE}
