"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.server.core.deciding.parameter import Parameters

from tests.kit.core_lab import Lab
from tests.kit.liveness_lab import Lab as LivenessLab


@pytest.fixture
def lab() -> Lab:
    """A lab with the default parameters."""
    return Lab()


@pytest.fixture
def lab_with() -> Callable[[Parameters], Lab]:
    """Makes a lab with other parameters."""
    return Lab


@pytest.fixture
def heard() -> LivenessLab:
    """A lab in whose store ``a`` a node ``n`` reports a peer ``p`` that speaks every second."""
    lab = LivenessLab()
    lab.report("n", {"p": 0.0})
    lab.converse(60)
    return lab
