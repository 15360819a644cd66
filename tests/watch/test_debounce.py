from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from gossipcontrol.watch.change import DEFAULT_V4
from gossipcontrol.watch.debounce import Debounce
from gossipcontrol.watch.fingerprint import Fingerprint
from hypothesis import given
from hypothesis import strategies as st

from tests.watch.lab import LONGEST, QUIET, Seen, replay


def network(address: str = "10.0.0.2", losses: int = 0, **peers: str) -> Fingerprint:
    ways = {DEFAULT_V4: frozenset({("eth0", "10.0.0.1", address)})}
    ways |= {peer: frozenset({("eth0", gateway, address)}) for peer, gateway in peers.items()}
    return Fingerprint(ways, frozenset({("eth0", address)}), frozenset({(2, losses)}))


HOME, AWAY, NONE = network(), network("10.0.0.9"), Fingerprint()
FLAPPED = network(losses=1)
LAN = replace(HOME, ways={})
"""The default route is gone, peers in the same network are not."""
PEER, PEER_MOVED = network(alice=""), network(alice="10.0.0.7")

ROUTER = replace(HOME, routers={("eth0", "10.0.0.1"): "02:00:00:00:00:01"})
OTHER_ROUTER = replace(HOME, routers={("eth0", "10.0.0.1"): "02:00:00:00:00:02"})


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        pytest.param([], [], id="nothing happens"),
        pytest.param([(1, HOME), (2, HOME)], [], id="messages without a change"),
        pytest.param([(1, NONE)], [], id="a loss alone"),
        pytest.param([(1, NONE), (9, HOME)], [(9, HOME)], id="a default route after none, at once"),
        pytest.param([(1, LAN)], [(1.25, LAN)], id="no default route, but a LAN: a change like any other"),
        pytest.param([(1, LAN), (9, HOME)], [(1.25, LAN), (9, HOME)], id="its return, at once"),
        pytest.param([(1, LAN), (1.1, HOME)], [(1.1, HOME)], id="a flap of the default route"),
        pytest.param([(1, NONE), (2, LAN), (2.1, HOME)], [(2.1, HOME)], id="an address waits for its route"),
        pytest.param([(1, NONE), (2, LAN)], [(2.25, LAN)], id="an address alone, after the quiet time"),
        pytest.param([(1, PEER)], [], id="a peer becomes known"),
        pytest.param([(1, PEER), (9, PEER_MOVED)], [(9.25, PEER_MOVED)], id="another way to a peer"),
        pytest.param([(1, PEER), (9, HOME), (20, PEER_MOVED)], [], id="a peer that was forgotten"),
        pytest.param([(1, NONE), (1.1, HOME)], [(1.1, HOME)], id="a flap of 100 ms seen in two looks"),
        pytest.param([(1, FLAPPED)], [(1, FLAPPED)], id="a flap between two looks, at once"),
        pytest.param([(1, AWAY)], [(1.25, AWAY)], id="another address, after the quiet time"),
        pytest.param([(1, AWAY), (1.2, HOME)], [], id="there and back, nothing lost"),
        pytest.param([(1, AWAY), (1.2, network("10.0.0.3"))], [(1.45, network("10.0.0.3"))], id="churn, once"),
        pytest.param([(1, NONE), (2, HOME), (2.1, AWAY)], [(2, HOME), (2.35, AWAY)], id="back, then an address"),
        pytest.param(
            [(1, NONE), (2, HOME), (2.1, NONE), (2.2, HOME)], [(2, HOME), (2.45, HOME)], id="twice lost within quiet"
        ),
        pytest.param([(1, ROUTER), (2, HOME), (9, ROUTER)], [], id="a router is learned, forgotten and learned"),
        pytest.param([(1, ROUTER), (9, OTHER_ROUTER)], [(9.25, OTHER_ROUTER)], id="another router of that address"),
        pytest.param(
            [(1, ROUTER), (2, HOME), (9, OTHER_ROUTER)], [(9.25, OTHER_ROUTER)], id="another router after silence"
        ),
        pytest.param([(1, ROUTER), (2, OTHER_ROUTER), (2.1, ROUTER)], [], id="two routers that quarrel, briefly"),
        pytest.param(
            [(1, ROUTER), (8, NONE), (9, OTHER_ROUTER)], [(9, OTHER_ROUTER)], id="a router after an outage, at once"
        ),
        pytest.param(
            [(1, ROUTER), (8, NONE), (9, HOME), (12, OTHER_ROUTER)], [(9, HOME)], id="an outage, then a router: one"
        ),
    ],
)
def test_what_is_told(seen: list[Seen], told: list[Seen]) -> None:
    found = replay(HOME, seen)
    assert [what.network for _, what in found] == [what for _, what in told]
    assert [at for at, _ in found] == pytest.approx([at for at, _ in told])


def test_churn_that_does_not_end_is_told_at_the_longest_time() -> None:
    seen = [(1 + number * 0.1, network(f"10.0.0.{number + 3}")) for number in range(30)]
    told = replay(HOME, seen)
    assert told[0][0] == pytest.approx(1 + LONGEST)
    assert len(told) == 2
    assert told[-1][1].network == seen[-1][1]


def test_a_quiet_time_above_the_longest_time_is_kept() -> None:
    debounce = Debounce(HOME, quiet=10.0, longest=2.0)
    debounce.observe(AWAY, 1.0)
    assert debounce.next_deadline() == 11.0
    debounce.observe(network("10.0.0.3"), 8.0)
    assert debounce.next_deadline() == 18.0
    debounce.observe(AWAY, 17.0)
    assert debounce.next_deadline() == 21.0


def test_nothing_moves_nothing_is_due() -> None:
    debounce = Debounce(HOME)
    assert debounce.next_deadline() is None
    assert debounce.expire(1e9) is None


schedules = st.lists(
    st.tuples(
        st.floats(0.001, 4.0),
        st.sampled_from((HOME, AWAY, NONE, LAN, FLAPPED, network("10.0.0.9", 1), network(losses=2))),
    ),
    max_size=40,
).map(lambda steps: [(sum(wait for wait, _ in steps[: n + 1]), state) for n, (_, state) in enumerate(steps)])
firsts = st.sampled_from((HOME, NONE, AWAY))


def _current(seen: Sequence[Seen], first: Fingerprint, at: float) -> Fingerprint:
    return next((state for when, state in reversed(seen) if when <= at), first)


@given(schedules, firsts)
def test_a_loss_of_everything_is_never_told(seen: list[Seen], first: Fingerprint) -> None:
    assert all(report.network.reachable for _, report in replay(first, seen))


@given(schedules, firsts)
def test_what_is_told_is_always_the_network_of_that_moment(seen: list[Seen], first: Fingerprint) -> None:
    assert all(report.network == _current(seen, first, at) for at, report in replay(first, seen))


@given(schedules, firsts)
def test_in_the_end_the_last_network_has_always_been_told(seen: list[Seen], first: Fingerprint) -> None:
    last = _current(seen, first, math.inf)
    told = [first, *(report.network for _, report in replay(first, seen))]
    if last.reachable:
        assert told[-1] == last


@given(schedules, firsts)
def test_a_default_route_after_none_is_always_told_at_once_or_within_the_quiet_time(
    seen: list[Seen], first: Fingerprint
) -> None:
    told = [at for at, _ in replay(first, seen)]
    before, last_loss = first, -math.inf
    for at, state in seen:
        if state.defaults and not before.reachable:
            just_told = any(at - QUIET < when < at for when in told)
            assert at in told or just_told
            until = min((when for when, later in seen if when > at and not later.reachable), default=math.inf)
            if until > at + LONGEST:
                assert any(last_loss < when <= at + LONGEST for when in told)
        last_loss = at if not state.reachable else last_loss
        before = state


@given(schedules, firsts)
def test_told_changes_are_always_a_quiet_time_apart(seen: list[Seen], first: Fingerprint) -> None:
    told = [at for at, _ in replay(first, seen)]
    assert all(later - earlier >= QUIET - 1e-9 for earlier, later in itertools.pairwise(told))


@given(schedules)
def test_without_a_loss_a_network_that_returns_to_what_was_told_is_never_told_again(seen: list[Seen]) -> None:
    steady = [(at, state) for at, state in seen if state in (HOME, AWAY)]
    told = [HOME, *(report.network for _, report in replay(HOME, steady))]
    assert all(earlier != later for earlier, later in itertools.pairwise(told))


@pytest.mark.parametrize(
    ("first", "seen", "said"),
    [
        (HOME, [AWAY], "eth0 via 10.0.0.1; 10.0.0.9 (default v4, addresses changed)"),
        (HOME, [LAN], "no default route; 10.0.0.2 (default v4 changed)"),
        (HOME, [NONE, HOME], "eth0 via 10.0.0.1; 10.0.0.2"),
        (HOME, [FLAPPED], "eth0 via 10.0.0.1; 10.0.0.2"),
        (PEER, [PEER_MOVED], "eth0 via 10.0.0.1; 10.0.0.2 (peer alice changed)"),
        (network(alice="", bob=""), [network(alice="10.0.0.7", bob="10.0.0.7")],
         "eth0 via 10.0.0.1; 10.0.0.2 (2 peers changed)"),
    ],
)  # fmt: skip
def test_a_report_says_which_destinations_changed_their_way(
    first: Fingerprint, seen: list[Fingerprint], said: str
) -> None:
    told = replay(first, [(1.0 + number, state) for number, state in enumerate(seen)])
    assert [report.describe() for _, report in told] == [said]
