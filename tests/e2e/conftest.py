"""End-to-end tests need network namespaces and real iroh-gossip nodes; where these are missing, they are skipped."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.kit.network import what_is_missing
from tests.kit.swarm import Swarm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip every test here on a machine that cannot run them, with what it lacks."""
    here = f"{Path(__file__).parent}{os.sep}"  # as text: to compare 3,000 paths as paths takes a fifth of a second
    mine = [item for item in items if str(item.path).startswith(here)]
    if not mine:
        return
    missing = what_is_missing()
    if find_spec("iroh") is None:
        missing = "the package iroh is missing: pip install 'gossipcontrol[iroh]'"
    if missing:
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    """Three nodes on three hosts; the first has GossipControl."""
    async with Swarm(tmp_path) as started:
        yield started
