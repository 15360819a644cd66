"""Fixtures of the service's tests."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gossipcontrol.v1 import gossip_control_pb2_grpc

from tests.kit.service_lab import LONG, Service, config, connected, deciding, serving


@pytest.fixture
def windows() -> float:
    """Seconds that the service's windows last; a test that waits for their end sets them by parametrize."""
    return LONG


@pytest.fixture
async def service(tmp_path: Path, windows: float) -> AsyncIterator[Service]:
    """A service, over its Unix socket and a TCP port."""
    async with serving(config(tmp_path, deciding=deciding(windows))) as running:
        yield running


@pytest.fixture
async def stub(service: Service) -> AsyncIterator[gossip_control_pb2_grpc.GossipControlAsyncStub]:
    """A stub of that service, over its Unix socket."""
    async with connected(service.address) as one:
        yield one


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycle of garbage goes meanwhile, and ``gc.get_objects`` knows only what is new."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()
