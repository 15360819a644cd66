"""Invariants of liveness, for any reports in any order."""

from __future__ import annotations

import random
from dataclasses import replace

from gossipcontrol.server.core.event import (
    NEVER,
    LivenessEvent,
    LivenessReported,
    TimePassed,
)
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerRecord, PeerState
from gossipcontrol.server.core.presence.wheel import TICKS_PER_SECOND
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.roster import LoneLiveness

OBSERVERS, PEERS = ("n1", "n2", "n3"), ("p", "q", "n1")
TICK = 1 / TICKS_PER_SECOND
BEGIN = 1000.0


def serve(liveness: Liveness, until: float) -> None:
    """Serve every deadline when it is due."""
    while (deadline := liveness.next_deadline()) is not None and deadline <= until:
        liveness.handle(TimePassed(), deadline)


def play(liveness: Liveness, events: list[tuple[float, LivenessEvent]], until: float) -> None:
    """Handle events at their times."""
    for at, event in sorted(events, key=lambda one: one[0]):
        serve(liveness, at)
        liveness.handle(event, at)
    serve(liveness, until)


def shown(liveness: Liveness) -> list[PeerRecord]:
    return list(liveness.peers("a"))


@st.composite
def reports(draw: st.DrawFn, seconds: float = 40.0) -> list[tuple[float, LivenessReported]]:
    """Random reports; what was heard was heard before the report was sent."""
    found: list[tuple[float, LivenessReported]] = []
    for _ in range(draw(st.integers(1, 12))):
        at = BEGIN + draw(st.floats(0, seconds))
        ages = draw(st.dictionaries(st.sampled_from(PEERS), st.none() | st.floats(0, 60), max_size=3))
        heard = {peer: NEVER if age is None else at - age for peer, age in ages.items()}
        up = draw(st.lists(st.tuples(st.sampled_from(PEERS), st.floats(0, 60)), max_size=1))
        neighbors = {peer: at - age for peer, age in up}
        asleep = draw(st.sampled_from((False, False, False, True)))
        found.append(
            (
                at,
                LivenessReported(draw(st.sampled_from(OBSERVERS)), "a", heard, neighbors, going_to_sleep=asleep),
            )
        )
    return found


@given(reports(), st.data())
@settings(max_examples=100, deadline=None)
def test_in_the_end_presence_is_a_function_of_the_set_of_reports(
    sent: list[tuple[float, LivenessReported]], data: st.DataObject
) -> None:
    """Heard ages may arrive reordered, twice and late: once all is quiet, presence is the same.

    Peers that report themselves are left out, because every report is news of its sender. One node reports to the end:
    a service that hears nobody calls nobody offline.
    """
    parameters = LivenessParameters(report_ceiling=10.0, suspect_ceiling=20.0, offline_after=20.0)
    end = BEGIN + 100.0
    first, second = LoneLiveness(parameters), LoneLiveness(parameters)
    words: list[tuple[float, LivenessEvent]] = [
        (BEGIN + after, LivenessReported("w", "a", {})) for after in range(0, 100, 5)
    ]
    play(first, [*sent, *words], end)
    moved = list(words)
    for at, report in sent:
        moved.append((at, replace(report, heard={}, neighbors={})))
        for _ in range(data.draw(st.integers(1, 2))):
            late = at + data.draw(st.floats(0, 15))
            moved.append((late, report))
    play(second, moved, end)
    mine = [peer for peer in shown(first) if peer.peer_id in ("p", "q")]
    theirs = [peer for peer in shown(second) if peer.peer_id in ("p", "q")]
    assert mine == theirs


@given(reports(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_repeated_or_overtaken_reports_change_nothing(sent: list[tuple[float, LivenessReported]], seed: int) -> None:
    """Not even the learned rhythm: a sign of life that is not newer than the newest teaches nothing."""
    plain, noisy = LoneLiveness(), LoneLiveness()
    chance = random.Random(seed)
    earlier: list[LivenessReported] = []
    for at, report in sorted(sent, key=lambda one: one[0]):
        for liveness in (plain, noisy):
            serve(liveness, at)
            liveness.handle(report, at)
        earlier.append(report)
        for _ in range(chance.randrange(3)):
            noisy.handle(chance.choice(earlier[-1:]), at)
    assert shown(plain) == shown(noisy)
    end = max(at for at, _ in sent) + 300.0
    serve(plain, end)
    serve(noisy, end)
    assert shown(plain) == shown(noisy)


@given(reports(), st.floats(0, 10), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_no_order_duplication_or_delay_makes_a_dead_peer_look_alive_beyond_the_bound(
    sent: list[tuple[float, LivenessReported]], delay: float, copies: int
) -> None:
    """A peer that dies at BEGIN + 40 is ONLINE no longer than the ceiling after its last sign of life, plus a tick."""
    liveness = LoneLiveness()
    ceiling = liveness.parameters.suspect_ceiling
    events = [(at + delay * copy, report) for at, report in sent for copy in range(copies)]
    last: dict[str, float] = {}
    for at, report in events:
        last[report.node_id] = max(last.get(report.node_id, 0.0), at)
        for peer_id, seen_at in (*report.heard.items(), *report.neighbors.items()):
            if seen_at > NEVER:
                last[peer_id] = max(last.get(peer_id, 0.0), seen_at)
    for bound in sorted({at + ceiling + TICK for at in last.values()}):
        fresh = LoneLiveness()
        play(fresh, [one for one in events if one[0] <= bound], bound)
        for peer in shown(fresh):
            if last[peer.peer_id] + ceiling + TICK <= bound if peer.peer_id in last else True:
                assert peer.state is not PeerState.ONLINE, (peer, bound)


@given(st.floats(0.2, 25), st.floats(0, 0.5), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_no_silent_death_stays_online_beyond_the_bound(rhythm: float, jitter: float, observers: int, seed: int) -> None:
    """For any learned rhythm, whether observers go on reporting or fall silent with the peer.

    If two or more fall silent with it, at once, the service may be deaf: the peer is not ONLINE, nor proved OFFLINE.
    """
    liveness, chance = LoneLiveness(), random.Random(seed)
    ceiling = liveness.parameters.suspect_ceiling
    died_at, at, spoke = BEGIN + 300.0, BEGIN, [BEGIN]
    while at < died_at:
        at += rhythm * (1 + chance.uniform(-jitter, jitter))
        spoke.append(at)
    stop = died_at if seed % 2 else died_at + 2 * ceiling
    events: list[tuple[float, LivenessEvent]] = []
    for number in range(observers):
        at = BEGIN + chance.random() * 2
        while at < stop:
            heard = max((one for one in spoke if one <= min(at, died_at)), default=BEGIN)
            events.append((at, LivenessReported(f"n{number}", "a", {"p": heard})))
            at += 2.0
    play(liveness, events, died_at + ceiling + TICK)
    assert next(peer for peer in shown(liveness) if peer.peer_id == "p").state is not PeerState.ONLINE
    serve(liveness, died_at + ceiling + liveness.parameters.offline_after + 2 * TICK)
    is_deaf = stop == died_at and observers > 1
    expected = PeerState.SUSPECT if is_deaf else PeerState.OFFLINE
    assert next(peer for peer in shown(liveness) if peer.peer_id == "p").state is expected
    assert (liveness.deaf_since() is not None) is is_deaf


@given(reports(seconds=5.0), st.floats(0.5, 20))
@settings(max_examples=100, deadline=None)
def test_a_restart_marks_nobody_offline_before_one_report_interval(
    sent: list[tuple[float, LivenessReported]], interval: float
) -> None:
    parameters = LivenessParameters(
        report_interval=interval,
        report_ceiling=interval,
        suspect_floor=0.1,
        suspect_ceiling=2 * interval,
        offline_after=0.1,
    )
    liveness = LoneLiveness(parameters)
    began_at = min(at for at, _ in sent)
    for at, report in sorted(sent, key=lambda one: one[0]):
        while (deadline := liveness.next_deadline()) is not None and deadline <= at:
            liveness.handle(TimePassed(), deadline)
            if deadline < began_at + interval:
                assert liveness.counts().peers[PeerState.OFFLINE] == 0
        liveness.handle(report, at)
        if at < began_at + interval:
            assert liveness.counts().peers[PeerState.OFFLINE] == 0


@given(reports(), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_state_stays_bounded_and_gauges_match_it(
    sent: list[tuple[float, LivenessReported]], per_store: int, limit: int
) -> None:
    liveness = LoneLiveness(LivenessParameters(peers_per_store=per_store, peer_limit=limit, peer_age=30.0))
    stores = ("a", "b")
    for number, (at, report) in enumerate(sorted(sent, key=lambda one: one[0])):
        serve(liveness, at)
        liveness.handle(replace(report, store_id=stores[number % 2]), at)
        assert liveness.peer_total <= limit
        assert all(liveness.peer_count(store_id) <= per_store for store_id in stores)
        everyone = [peer for store_id in stores for peer in liveness.peers(store_id)]
        assert liveness.counts().peers == {state: sum(peer.state is state for peer in everyone) for state in PeerState}


@given(reports(), st.integers(0, 10))
@settings(max_examples=100, deadline=None)
def test_a_view_and_all_deltas_after_it_give_the_view_of_now(
    sent: list[tuple[float, LivenessReported]], first: int
) -> None:
    liveness = LoneLiveness(LivenessParameters(peers_per_store=3))
    ordered = sorted(sent, key=lambda one: one[0])
    play(liveness, list(ordered[:first]), ordered[0][0])
    view = liveness.view("a")
    known = {peer.peer_id: peer.state for peer in view.peers}
    version = view.version
    for at, report in ordered[first:]:
        serve(liveness, at)
        liveness.handle(report, at)
        for number, peer, peer_id in liveness.changes("a", version) or ():
            assert number == version + 1
            version = number
            known.pop(peer_id, None)
            if peer is not None:
                known[peer_id] = peer.state
        assert known == {peer.peer_id: peer.state for peer in liveness.peers("a")}
