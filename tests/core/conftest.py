"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.server.core.parameter import Parameters

from tests.core.lab import Lab


@pytest.fixture
def lab() -> Lab:
    """A lab with the default parameters."""
    return Lab()


@pytest.fixture
def lab_with() -> Callable[[Parameters], Lab]:
    """Makes a lab with other parameters."""
    return Lab
