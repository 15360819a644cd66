"""What the network delayed proves no rejoin that started since it was written."""

from __future__ import annotations

from gossipcontrol.server.core.decision import Outcome
from gossipcontrol.server.core.event import Event, LivenessReported, NeighborChanged, RejoinRequested
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.core_lab import Lab

SECONDS = st.integers(min_value=0, max_value=16).map(lambda quarters: quarters / 4)


def verified(lab: Lab) -> bool:
    [rejoin] = lab.core.catalog.rejoins()
    return rejoin.outcome is Outcome.VERIFIED


@given(
    kind=st.sampled_from(["message", "neighbour", "event"]), heard=SECONDS, arrival=SECONDS, extra=SECONDS,
)  # fmt: skip
def test_only_what_was_heard_after_the_start_proves(kind: str, heard: float, arrival: float, extra: float) -> None:
    """``heard`` - 2 s from the start; the frame is written at once, and its delay overrated by ``extra``."""
    lab = Lab()
    lab.attach()
    lab.answer(RejoinRequested("n"))
    start = lab.now
    lab.finish()
    heard_at = start + heard - 2
    lab.advance(max(arrival, heard - 2))
    delay = lab.now - heard_at + extra
    event: Event = NeighborChanged("n", "a", "p", True, lab.now, delay)  # its stated age is 0: it was written at once
    if kind == "message":
        event = LivenessReported("n", "a", {"p": lab.now}, delay=delay)
    elif kind == "neighbour":
        event = LivenessReported("n", "a", neighbors={"p": lab.now}, delay=delay)
    lab.handle(event)
    assert verified(lab) == (heard_at - extra > start)
