"""Numbers are sent within what their fields hold."""

from __future__ import annotations

import math

import pytest
from gossipcontrol.server.core.deciding.parameter import SLOWEST_RATE, Parameters
from gossipcontrol.server.core.decision import Decision, DecisionKind, Rule
from gossipcontrol.server.wire.encode import age_ms, decision_message, span_ms


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(-1.0, 0), (1.5, 1500), (1e12, 2**32 - 1), (math.inf, 2**32 - 1)]
)
def test_a_span_fits_a_uint32(seconds: float, milliseconds: int) -> None:
    assert span_ms(seconds) == milliseconds


@pytest.mark.parametrize(("at", "age"), [(5.0, 0), (-1.0, 1000), (-1e300, 2**64 - 1), (-math.inf, 2**64 - 1)])
def test_an_age_fits_a_uint64(at: float, age: int) -> None:
    assert age_ms(at, 0.0) == age


def test_a_start_in_a_hundred_years_can_be_told() -> None:
    """A very low rate was answered with INTERNAL, after the trigger had been accepted."""
    decision = Decision("n", "a", DecisionKind.SCHEDULED, Rule.GLOBAL_LIMIT, "r", 3e9)
    assert decision_message(decision, 0.0).start_in_ms == 2**32 - 1


def test_the_rate_has_a_lower_bound() -> None:
    assert Parameters(rate=SLOWEST_RATE).rate == SLOWEST_RATE
    with pytest.raises(ValueError, match=r"rate must be at least 0\.001"):
        Parameters(rate=SLOWEST_RATE / 2)
