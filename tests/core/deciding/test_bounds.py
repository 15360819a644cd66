"""The rules hold where stores are dropped and taken up, and where parameters change at a restart."""

from __future__ import annotations

import itertools
import json

import pytest
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import NodeAttached, RejoinRequested, ServiceStarted, TimePassed
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.deciding.test_replay import LoggingLab, replays
from tests.kit.core_lab import Lab


def test_a_store_that_is_dropped_and_taken_up_again_keeps_its_window() -> None:
    """An app that closes and opens a store must not rejoin each time."""
    lab = Lab()
    for number in range(100):
        lab.handle(NodeAttached("n", "s", ()))
        lab.handle(NodeAttached("n", "s", ("a",)))
        lab.handle(RejoinRequested("n", request_id=f"q{number}"))
        lab.advance(0.01)
    assert len(lab.start_times()) == 1
    lab.advance(lab.parameters.window)
    assert len(lab.start_times()) == 2, "the last trigger is covered at the end of the window"


registrations = st.lists(
    st.tuples(st.sampled_from(("take up", "drop", "ask", "restart")), st.floats(0.0, 8.0)), min_size=1, max_size=40
)


@given(registrations)
@settings(max_examples=200, deadline=None)
def test_no_slot_starts_twice_within_a_window_whatever_is_dropped_meanwhile(actions: list[tuple[str, float]]) -> None:
    lab = LoggingLab()
    for number, (what, wait) in enumerate(actions):
        lab.advance(wait)
        match what:
            case "take up":
                lab.handle(NodeAttached("n", f"s{number}", ("a", "b")))
            case "drop":
                lab.handle(NodeAttached("n", f"s{number}", ("b",)))
            case "ask":
                lab.handle(RejoinRequested("n"))
            case _:
                lab.handle(ServiceStarted(f"r{number}"))
    lab.advance(60.0)
    for store_id in ("a", "b"):
        times = lab.start_times(store_id=store_id)
        assert all(later - earlier >= lab.parameters.window - 1e-6 for earlier, later in itertools.pairwise(times))
    replays(lab)


@pytest.mark.parametrize("rate", [20.0, 200.0])
def test_a_higher_rate_holds_from_the_restart_on(rate: float) -> None:
    """What a throttled service had booked is not owed under the new rate."""
    slow = Core(CoreParameters(deciding=Parameters(rate=0.1, burst=400)))
    stores = tuple(f"s{number}" for number in range(900))
    slow.handle(NodeAttached("n", "s", stores), 0.0)
    slow.handle(RejoinRequested("n"), 1.0)
    fast = Core(CoreParameters(deciding=Parameters(rate=rate, burst=400)))
    fast.load(json.loads(json.dumps(slow.save())))
    now = 10.0
    fast.handle(ServiceStarted("second"), now)
    effects = fast.handle(NodeAttached("n", "s2", stores), now).effects
    started = sum(isinstance(effect, StartRejoin) for effect in effects)
    while (deadline := fast.deciding.next_deadline()) is not None and deadline <= now + 600 / rate + 10:
        effects = fast.handle(TimePassed(), max(now, deadline)).effects
        started += sum(isinstance(effect, StartRejoin) for effect in effects)
    assert started >= 400
