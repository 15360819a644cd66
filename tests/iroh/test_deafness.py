"""A node that hears nobody: when its endpoint is given up, and how patiently afterwards."""

from __future__ import annotations

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.iroh.deafness import ENDPOINT_KEPT, STUCK_TIME, Deafness
from gossipcontrol.iroh.endpoint import TRUSTED_FOR


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def moves(deafness: Deafness, clock: Clock, seconds: int) -> list[float]:
    """When the node moves by itself, if a dial is in vain every second."""
    made: list[float] = []
    ends_at = clock.now + seconds
    while clock.now < ends_at:
        clock.now += 1.0
        made += [clock.now] if deafness.is_over_patience(("p",)) else []
    return made


def test_a_node_that_hears_nobody_moves_after_a_minute_and_then_waits_twice_as_long(clock: Clock) -> None:
    """Nothing else would move it: no sync reaches a peer, so the service commands no rejoin."""
    assert moves(Deafness(clock), clock, 1000) == [60.0, 120.0, 240.0, 480.0, 960.0]


def test_a_word_of_any_peer_ends_the_wait(clock: Clock) -> None:
    deafness = Deafness(clock)
    assert moves(deafness, clock, 130) == [60.0, 120.0]
    deafness.heard()
    assert not deafness.is_long()
    assert moves(deafness, clock, 100) == [130.0 + ENDPOINT_KEPT]


def test_a_node_that_is_stuck_with_a_dead_path_moves_soon(clock: Clock) -> None:
    deafness = Deafness(clock)
    clock.now = 8.0
    deafness.look({"p"})
    assert moves(deafness, clock, 100) == [8.0 + STUCK_TIME, ENDPOINT_KEPT]


def test_a_node_that_hears_others_does_not_move_because_one_path_is_dead(clock: Clock) -> None:
    deafness = Deafness(clock)
    deafness.look({"p"})
    for _ in range(100):
        clock.now += 10.0
        deafness.heard()
        assert not deafness.is_over_patience(("p",))
    assert deafness.is_stuck(("p",)), "RESUBSCRIBE moves it"


def test_a_path_that_works_again_is_not_stuck(clock: Clock) -> None:
    deafness = Deafness(clock)
    deafness.look({"p"})
    clock.now = 5.0
    deafness.look(())
    deafness.look({"p", "q"})
    clock.now = 10.0
    assert not deafness.is_stuck(("p", "q"))
    assert not deafness.is_stuck(())


def test_a_node_that_stayed_and_hears_no_message_stayed_in_vain(clock: Clock) -> None:
    deafness = Deafness(clock)
    assert not deafness.has_stayed_in_vain()
    clock.now = 1.0
    deafness.stayed()
    deafness.heard()  # a neighbour that is listed still proves nothing
    assert deafness.has_stayed_in_vain()
    clock.now = 2.0
    deafness.message()
    assert not deafness.has_stayed_in_vain()
    clock.now = 3.0
    deafness.stayed()
    deafness.moved()
    assert not deafness.has_stayed_in_vain()


def test_links_are_dead_where_no_message_came_since_one_broke(clock: Clock) -> None:
    """Both directions of one of three hosts were lost for 50 s: resubscribed, it listed links that it did not have."""
    deafness = Deafness(clock)
    clock.now = 100.0
    assert not deafness.keeps_dead_links(), "a store in which nobody speaks"
    deafness.broke()
    clock.now += TRUSTED_FOR.total_seconds() - 0.1
    deafness.broke()
    deafness.heard()  # a neighbour that is listed still proves nothing
    assert not deafness.keeps_dead_links(), "iroh may still move them to another path"
    clock.now += 0.1
    assert deafness.keeps_dead_links()
    deafness.message()
    assert not deafness.keeps_dead_links()
    clock.now += 1.0
    deafness.stayed()
    assert deafness.keeps_dead_links()
    deafness.broke()
    deafness.moved()
    clock.now += TRUSTED_FOR.total_seconds()
    assert not deafness.keeps_dead_links()


def test_an_endpoint_is_doubtful_once_nobody_was_heard_for_longer_than_a_path_is_trusted(clock: Clock) -> None:
    deafness = Deafness(clock)
    clock.now = TRUSTED_FOR.total_seconds() - 0.1
    assert not deafness.is_doubtful()
    clock.now += 0.1
    assert deafness.is_doubtful()
    deafness.heard()
    assert not deafness.is_doubtful()
