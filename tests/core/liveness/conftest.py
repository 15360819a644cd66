"""Fixtures of the tests of liveness."""

from __future__ import annotations

import pytest

from tests.core.liveness.lab import Lab


@pytest.fixture
def heard() -> Lab:
    """A lab in whose store ``a`` a node ``n`` reports a peer ``p`` that speaks every second."""
    lab = Lab()
    lab.report("n", {"p": 0.0})
    lab.converse(60)
    return lab
