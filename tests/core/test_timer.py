"""Deadlines of rejoins: earliest first, in the order in which they were set, whoever looked in between."""

from __future__ import annotations

import pytest
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.rejoin import Rejoin
from gossipcontrol.server.core.timer import Timers


def made(name: str) -> Rejoin:
    return Rejoin(1, name, "n", "a", Cause.MANUAL, requested_at=0.0, uncovered_at=0.0)


@pytest.mark.parametrize("looks", [False, True])
def test_a_look_changes_no_order(looks: bool) -> None:
    timers, first, second = Timers(), made("first"), made("second")
    timers.set(first, 5.0)
    timers.set(first, 9.0)
    if looks:
        assert timers.next_at() == 9.0
    timers.set(second, 5.0)
    timers.set(first, 5.0)
    assert [timers.pop(5.0), timers.pop(5.0), timers.pop(99.0)] == [second, first, None]
