"""Frames that the network delayed never prove a rejoin whose command their agent had not received."""

from __future__ import annotations

from gossipcontrol.server.rpc.command_log import NOTHING, REMEMBERED, UNARY_DELAY, CommandLog
from hypothesis import given
from hypothesis import strategies as st

SECONDS = st.integers(min_value=0, max_value=40).map(lambda quarters: quarters / 4)


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_frame_that_had_not_seen_the_command_proves_nothing() -> None:
    log = CommandLog(_Clock())
    log.add("a")
    assert log.delay("a", 0, 0.0) == NOTHING
    assert log.delay("b", 0, 0.0) == 0.0
    assert log.delay("a", 1, 0.0) == 0.0


def test_the_delay_is_what_the_agent_does_not_account_for() -> None:
    clock = _Clock()
    log = CommandLog(clock)
    clock.now += 2
    log.add("a")
    clock.now += 5
    assert log.delay("a", 1, 1.5) == 3.5


def test_an_agent_that_had_the_command_before_it_was_sent_had_it_just_then() -> None:
    """A clock that runs fast makes nothing newer than it was heard."""
    clock = _Clock()
    log = CommandLog(clock)
    log.add("a")
    clock.now += 5
    assert log.delay("a", 1, 60.0) == 0.0


def test_numbers_that_were_never_sent_count_as_the_newest() -> None:
    log = CommandLog(_Clock())
    log.add("a")
    assert log.delay("a", 2**32 - 1, 0.0) == 0.0


def test_what_is_remembered_is_bounded() -> None:
    log = CommandLog(_Clock())
    for number in range(3 * REMEMBERED):
        log.add(f"store {number}")
    assert log.delay("other", 0, 0.0) == NOTHING
    assert log.delay("other", 3 * REMEMBERED, 0.0) == 0.0


def test_an_older_agents_frames_prove_nothing_until_the_newest_result() -> None:
    log = CommandLog(_Clock())
    log.add("a", ("r-1", 1))
    log.add("a", ("r-1", 2))
    log.record_answer(("r-1", 1))
    assert log.assumed_delay("a") == NOTHING
    assert log.assumed_delay("b") == 0.0
    log.record_answer(("r-1", 2))
    assert log.assumed_delay("a") == 0.0
    assert log.assumed_delay("a", unary=True) == UNARY_DELAY


def test_an_older_agents_frames_after_a_silence_count_as_held() -> None:
    clock = _Clock()
    log = CommandLog(clock)
    clock.now += 5
    log.record_frame(2.0)
    assert log.assumed_delay("a") == 3.0
    assert log.assumed_delay("a", unary=True) == 3.0, "what holds a stream may hold a call as well"
    clock.now += 0.5
    log.record_frame(2.0)
    assert log.assumed_delay("a") == 3.0, "it came in the same burst"
    clock.now += 2
    log.record_frame(2.0)
    assert log.assumed_delay("a") == 0.0


@given(starts=st.lists(SECONDS, max_size=4), down=SECONDS, written=SECONDS, age=SECONDS, up=SECONDS)
def test_delayed_frames_never_claim_more_than_is_true(
    starts: list[float], down: float, written: float, age: float, up: float
) -> None:
    """Whatever the delays, an instant is never placed later than when the node really heard the message."""
    clock = _Clock()
    zero = clock.now
    log = CommandLog(clock)
    for start in sorted(starts):
        clock.now = zero + start
        log.add("a")
    received = [at + down for at in sorted(starts) if at + down <= written]
    since = written - (received[-1] if received else down)
    clock.now = zero + max([written + up, *starts])
    placed = clock.now - age - log.delay("a", len(received), since)
    assert placed <= zero + written - age
    if len(received) < len(starts):
        assert placed < zero
